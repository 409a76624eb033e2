"""The sweep: variants x data sets x seeds as cells, each done once."""

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
from benchmarks.records.record import Record, read_records, write_missing_data
from benchmarks.sweep.cell import FAILED_STEPS, Setting, clean_up, finished, run_once
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
    """What a sweep did: records of cells that ran, run ids that were there already (``ended_badly``: the records of
    those that did) or that another process runs, data sets that could not be had."""

    ran: list[Record] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    missing_data: dict[str, str] = field(default_factory=dict)
    ended_badly: list[Record] = field(default_factory=list)

    @property
    def failed(self) -> list[Record]:
        """Of all cells that were asked for, those that ended badly, now or before."""
        return [*(record for record in self.ran if record.status != "ok"), *self.ended_badly]

    def skip(self, cell: Config, setting: Setting) -> None:
        """Enter a cell that has its record."""
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
    """Run every cell that has no record yet; with ``retry``, those that failed or diverged too.

    ``jobs`` at a time (None: what the machine allows), each in a process of its own; one at a time in this process,
    unless a ``timeout`` in seconds may have to end it.
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
    # By all cells that were asked for, not by those that are left: the same command, interrupted and started again,
    # gives each run the threads that it would have had.
    side = min(jobs or default_jobs(setting.device), max(1, len(states)))
    count = threads_a_job(side) if side > 1 else min(torch.get_num_threads(), usable_cores())
    records = read_records(setting.results)[0]
    device = numerics(setting.device)["device"]
    overview = Overview(wanted, records, side, device)
    with Screen(overview.lines) as screen, listening(partial(overview.hear, None)):
        loaded = _load(wanted, setting.data_root, summary)
        ready = [cell for cell in wanted if cell.dataset.images in loaded]
        names = {cell.dataset.name for cell in ready}
        jobs = min(side, max(1, len(ready)))
        setting = replace(setting, jobs=jobs)
        for cell in wanted:
            if cell.dataset.images not in loaded:
                overview.drop(cell.run_id)

        def started(cell: Config) -> None:
            screen.print_in_file(overview.started(cell.run_id))

        if jobs > 1 or timeout is not None:
            # The workers load for themselves.
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
    """As :func:`run`, by one of Hydra's launchers, which fetches no data: every job loads its own."""
    from benchmarks.sweep.launchers import launch

    check_ready(setting)
    summary = Summary()
    states = to_do(cells, setting, retry)
    wanted = [cell for cell in cells if states[cell.run_id].startswith("run")]
    for cell in cells:
        if states[cell.run_id].startswith("done"):
            summary.skip(cell, setting)
    if wanted:
        waiting = f"waiting for {counted(len(wanted), 'run')} of the launcher {launcher}"
        with Screen(lambda now: [waiting], plain=True) as screen:
            for cell, record in launch(wanted, setting, launcher, retry, launcher_overrides):
                if record is None:
                    summary.elsewhere.append(cell.run_id)
                else:
                    summary.ran.append(record)
                    screen.print(f"[{len(summary.ran)}/{len(wanted)}] {record.run_id}: {outcome(record)}")
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
        # Of the code as it was imported: somebody may edit a file while cells before its own are running.
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
    """Every data set that the cells need and that can be had, by :attr:`DatasetConfig.images`: options may make several
    of one name. The others go into the summary."""
    loaded: dict[str, Dataset] = {}
    for config in {cell.dataset.images: cell.dataset for cell in cells}.values():
        try:
            with doing(f"loading {config.name}"):
                found = load(config, data_root)
            condition_shape(found, config)
            loaded[config.images] = found
            download_outliers(config, data_root)
        except UserError as error:
            summary.missing_data[config.name] = str(error)
            log.error("%s", error)
    return loaded


def outcome(record: Record) -> str:
    """A cell's result in one line."""
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
    """The innermost line of a failed run's traceback that is not in an installed package, in parentheses."""
    if record.status != "failed" or record.error is None:
        return ""
    frames = re.findall(r'^ *File "([^"<]+)", line (\d+)', record.error["traceback"], re.MULTILINE)
    own = [(Path(file).name, line) for file, line in frames if "site-packages" not in file]
    return " ({}, line {})".format(*own[-1]) if own else ""


def check_ready(setting: Setting) -> None:
    """Raises ``UserError`` for what would end a run only after others have trained: a results folder that takes no
    files, damaged judges."""
    check_writable(setting.results / "runs")
    check_shipped()


def check_writable(folder: Path) -> None:
    """Raises ``UserError`` for a folder of results that takes no files; removes what killed processes left in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        raise UserError(f"the results folder {str(folder)!r} is not writable: {error.strerror}") from None
    remove_temporary(folder, older_than=ABANDONED_SECONDS)
