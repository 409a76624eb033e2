"""Runs a sweep: all combinations of variants, data sets and seeds (cells), each of them once."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch

from benchmarks.config import Config
from benchmarks.data import Dataset, condition_shape, load
from benchmarks.environment import numerics, threads, usable_cores
from benchmarks.errors import UserError
from benchmarks.evaluation.judges.shipped import check_shipped
from benchmarks.files import ABANDONED_SECONDS, remove_temporary
from benchmarks.progress.report import Status, doing, listening
from benchmarks.progress.screen import Screen
from benchmarks.records.record import UNKNOWN_DATA, Record, read_records, write_missing_data
from benchmarks.sweep.cell import DATA_MISSING, FAILED_STEPS, Setting, clean_up, finished, run_once
from benchmarks.sweep.locks import LockedError
from benchmarks.sweep.outliers import download_outliers
from benchmarks.sweep.overview import Overview
from benchmarks.sweep.plan import longest_first, to_do
from benchmarks.sweep.workers import default_jobs, side_by_side, threads_a_job
from benchmarks.training.identity import code_digest, own_code_digest
from benchmarks.wording import counted
from variants import lookup

log = logging.getLogger(__name__)


@dataclass
class Summary:
    """The result of a sweep.

    ``ran``: records of cells that ran now. ``skipped``: ids of runs that already had a record. ``ended_badly``: those
    records among the skipped ones that are not "ok". ``elsewhere``: ids of runs that another process runs.
    ``missing_data``: data sets that could not be loaded, with the reason. ``refused``: ids of runs that do not fit
    their data set, with the reason.
    """

    ran: list[Record] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    missing_data: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    ended_badly: list[Record] = field(default_factory=list)

    @property
    def failed(self) -> list[Record]:
        """The records of all requested cells that failed or diverged, now or earlier."""
        return [*(record for record in self.ran if record.status != "ok"), *self.ended_badly]

    def skip(self, cell: Config, setting: Setting) -> None:
        """Add a cell that is already done, and clean up its folder."""
        self.skipped.append(cell.run_id)
        clean_up(cell, setting)
        record = finished(cell, setting)
        if record is not None and record.status != "ok":
            self.ended_badly.append(record)


def run(
    cells: Sequence[Config],
    setting: Setting,
    retry: bool = False,
    jobs: int | None = None,
    timeout: float | None = None,
) -> Summary:
    """Run every cell that is not done (:func:`to_do`). With ``retry``, cells with an incomplete record are run again.

    ``jobs`` is the number of runs at a time; None uses as many as the machine allows. With several jobs or a
    ``timeout`` in seconds, each run has its own process. Otherwise runs are executed in this process.
    """
    check_ready(setting)
    summary = Summary()
    states = to_do(cells, setting, retry)
    wanted = []
    for cell in {cell.run_id: cell for cell in cells}.values():
        if states[cell.run_id].startswith("done"):
            print(f"{cell.run_id}: already done ({states[cell.run_id].removeprefix('done ').strip('()')})")
            summary.skip(cell, setting)
        else:
            wanted.append(cell)
    # Computed from all requested cells, not from the remaining ones, so that a command that is interrupted and repeated
    # gives each run the same number of threads.
    side = min(jobs or default_jobs(setting.device), max(1, len(states)))
    count = threads_a_job(side) if side > 1 else min(torch.get_num_threads(), usable_cores())
    records = read_records(setting.results)[0]
    device = numerics(setting.device)["device"]
    overview = Overview(wanted, records, side, device)
    with Screen(overview.lines) as screen, listening(partial(overview.hear, None)):
        loaded = _load(wanted, setting.data_root, summary)
        ready = _with_condition(wanted, loaded, summary)
        _download_outliers(ready, setting.data_root)
        names = {cell.dataset.name for cell in ready}
        jobs = min(side, max(1, len(ready)))
        setting = replace(setting, jobs=jobs)
        for run_id in {cell.run_id for cell in wanted} - {cell.run_id for cell in ready}:
            overview.drop(run_id)

        def started(cell: Config) -> None:
            screen.print_in_file(overview.started(cell.run_id))

        if jobs > 1 or timeout is not None:
            # Each worker loads its own data.
            loaded.clear()
            ordered = longest_first(ready, records, device)
            outcomes = side_by_side(ordered, setting, jobs, count, retry, timeout, started, overview.hear)
        else:
            outcomes = _one_by_one(ready, setting, loaded, count, retry, started, overview.hear)
        for cell, record in outcomes:
            overview.ended(cell.run_id, record)
            if record is None:
                summary.elsewhere.append(cell.run_id)
                screen.print(f"{cell.run_id}: skipped, because another process is running it")
            else:
                summary.ran.append(record)
                screen.print(f"[{len(summary.ran)}/{len(ready)}] {record.run_id}: {outcome(record)}")
    write_missing_data(setting.results, summary.missing_data, names)
    return summary


def run_on(
    launcher: str, cells: Sequence[Config], setting: Setting, retry: bool, launcher_overrides: Sequence[str]
) -> Summary:
    """Like :func:`run`, with one of Hydra's launchers. Data sets are not loaded here: every job loads its own. Only
    the outliers are downloaded here, because jobs do not download them."""
    from benchmarks.sweep.launchers import launch

    check_ready(setting)
    summary = Summary()
    states = to_do(cells, setting, retry)
    cells = list({cell.run_id: cell for cell in cells}.values())
    wanted = [cell for cell in cells if states[cell.run_id].startswith("run")]
    for cell in cells:
        if states[cell.run_id].startswith("done"):
            summary.skip(cell, setting)
    if wanted:
        _download_outliers(wanted, setting.data_root)
        waiting = f"waiting for {counted(len(wanted), 'run')} of the launcher {launcher}"
        with Screen(lambda now: [waiting], plain=True) as screen:
            for cell, record in launch(wanted, setting, launcher, launcher_overrides):
                if record is None:
                    summary.elsewhere.append(cell.run_id)
                else:
                    summary.ran.append(record)
                    screen.print(f"[{len(summary.ran)}/{len(wanted)}] {record.run_id}: {outcome(record)}")
    failed = [(record.dataset, record.error) for record in summary.ran if record.error is not None]
    missing = {name: error["message"] for name, error in failed if error["type"] == DATA_MISSING}
    present = {record.dataset for record in summary.ran if record.data_sha256 != UNKNOWN_DATA}
    write_missing_data(setting.results, missing, present)
    return summary


def _one_by_one(
    cells: Sequence[Config],
    setting: Setting,
    loaded: dict[str, Dataset],
    count: int,
    retry: bool,
    started: Callable[[Config], None],
    hear: Callable[[str, Status], None],
) -> Iterator[tuple[Config, Record | None]]:
    for cell in cells:
        # Compute and cache the digests now: a file may be edited while earlier cells are running.
        code_digest(lookup(cell.variant_name))
        own_code_digest(lookup(cell.variant_name))
    for cell in cells:
        started(cell)
        try:
            with threads(count), listening(partial(hear, cell.run_id)):
                record = run_once(cell, setting, partial(loaded.__getitem__, cell.dataset.images), retry)
            yield cell, record
        except LockedError:
            yield cell, None


def _load(cells: Sequence[Config], data_root: Path, summary: Summary) -> dict[str, Dataset]:
    """Load the data sets of the cells. The key is :attr:`DatasetConfig.images`, because data sets with the same name
    can have different options. Data sets that cannot be loaded are added to ``summary``."""
    loaded: dict[str, Dataset] = {}
    for config in {cell.dataset.images: cell.dataset for cell in cells}.values():
        try:
            with doing(f"loading {config.name}"):
                loaded[config.images] = load(config, data_root)
        except UserError as error:
            summary.missing_data[config.name] = str(error)
            log.error("%s", error)
    return loaded


def _with_condition(cells: Sequence[Config], loaded: dict[str, Dataset], summary: Summary) -> list[Config]:
    """The cells whose data set was loaded and has their condition. Those without it are added to ``summary``."""
    fitting = []
    for cell in cells:
        if cell.dataset.images not in loaded:
            continue
        try:
            condition_shape(loaded[cell.dataset.images], cell.dataset)
            fitting.append(cell)
        except UserError as error:
            summary.refused[cell.run_id] = str(error)
    for reason in dict.fromkeys(summary.refused.values()):
        log.error("%s", reason)
    return fitting


def _download_outliers(cells: Sequence[Config], data_root: Path) -> None:
    """Download the outliers of the cells. Data sets with the same images can have different outliers."""
    for config in {repr(cell.dataset): cell.dataset for cell in cells}.values():
        download_outliers(config, data_root)


def outcome(record: Record) -> str:
    """The result of a cell in one line."""
    if record.status != "ok":
        assert record.error is not None
        return f"{record.status}: {record.error['type']}: {record.error['message']}{_raised_in(record)}"
    shown = [f"{name} {record.metrics[name]:.2f}" for name in ("elbo", "log_likelihood") if name in record.metrics]
    if "mse" in record.metrics:
        shown.append(f"mse {record.metrics['mse']:.4f}")
    if failed := record.details.get(FAILED_STEPS):
        shown.append(f"but {', '.join(failed)} failed")
    return ", ".join([*shown, f"{record.timing['total_seconds']:.0f} s"])


def _raised_in(record: Record) -> str:
    """The file and line of the innermost traceback frame outside installed packages, in parentheses, or ""."""
    if record.status != "failed" or record.error is None:
        return ""
    frames = re.findall(r'^ *File "([^"<]+)", line (\d+)', record.error["traceback"], re.MULTILINE)
    own = [(Path(file).name, line) for file, line in frames if "site-packages" not in file]
    return " ({}, line {})".format(*own[-1]) if own else ""


def check_ready(setting: Setting) -> None:
    """Raise ``UserError`` for problems that would otherwise be found only after training: a results folder that cannot
    be written, or damaged judges."""
    check_writable(setting.results / "runs")
    check_shipped()


def check_writable(folder: Path) -> None:
    """Raise ``UserError`` if a results folder is not writable. Removes temporary files that killed processes left."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        raise UserError(f"the results folder {str(folder)!r} is not writable: {error.strerror}") from None
    remove_temporary(folder, older_than=ABANDONED_SECONDS)
