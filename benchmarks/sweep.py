"""The sweep: variants x data sets x seeds as cells, each done once."""

from __future__ import annotations

import logging
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tqdm.auto import tqdm

from benchmarks.cell import Setting, finished, run_once
from benchmarks.config import Config, compose
from benchmarks.data import Dataset, load
from benchmarks.errors import UserError
from benchmarks.locks import LockedError
from benchmarks.results import Record, read_records, write_missing_data
from benchmarks.workers import default_jobs, side_by_side

log = logging.getLogger(__name__)


@dataclass
class Summary:
    """What a sweep did: records of cells that ran, run ids that were there already or that another process runs, data
    sets that could not be had."""

    ran: list[Record] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    missing_data: dict[str, str] = field(default_factory=dict)

    @property
    def failed(self) -> list[Record]:
        return [record for record in self.ran if record.status != "ok"]


def plan(
    variants: Sequence[str], datasets: Sequence[str], seeds: Sequence[int], profile: str, overrides: Sequence[str]
) -> list[Config]:
    """The checked configuration of every cell, before anything is touched. Raises ``UserError``."""
    return [compose(v, d, profile, s, overrides) for d in datasets for v in variants for s in seeds]


def to_do(cells: Iterable[Config], setting: Setting, retry: bool) -> dict[str, str]:
    """What is to become of each cell, by run id: "run", "run again (<status>)" or "done (<status>)"; the status is
    "published" where there is a published record alone."""
    known = read_records(setting.results)[0] if setting.skip_published else []
    # One that has no local record below is a published one.
    ended_well = {record.run_id for record in known if record.status == "ok"}
    states = {}
    for cell in cells:
        record = finished(cell, setting)
        if record is None:
            states[cell.run_id] = "done (published)" if cell.run_id in ended_well else "run"
        elif retry and record.status != "ok":
            states[cell.run_id] = f"run again ({record.status})"
        else:
            states[cell.run_id] = f"done ({record.status})"
    return states


def describe_plan(cells: Sequence[Config], setting: Setting, retry: bool, jobs: int | None) -> str:
    """The plan in words, for a dry run: a line a cell, then counts and the time to expect from earlier records."""
    states = to_do(cells, setting, retry)
    records, _ = read_records(setting.results)
    seconds = {cell.run_id: _expected_seconds(cell, records) for cell in cells}
    lines = []
    for run_id, state in states.items():
        known = seconds[run_id]
        time = f", about {known:.0f} s" if state.startswith("run") and known is not None else ""
        lines.append(f"{run_id}: {state}{time}")
    pending = [run_id for run_id, state in states.items() if state.startswith("run")]
    lines.append(f"{len(states)} cells: {len(states) - len(pending)} done, {len(pending)} to do")
    estimates = [known for run_id in pending if (known := seconds[run_id]) is not None]
    if estimates:
        # Cells of a kind that has no record yet take the others' median.
        total = sum(estimates) + (len(pending) - len(estimates)) * statistics.median(estimates)
        side = jobs or default_jobs(setting.device)
        lines.append(
            f"about {total / 60 / min(side, len(pending)):.0f} minutes with {side} at a time, by records of "
            f"{len(estimates)} of them"
        )
    return "\n".join(lines)


def _expected_seconds(cell: Config, records: Sequence[Record]) -> float | None:
    """The median time of earlier cells of the same variant, data set and profile, had they trained as long."""
    found = [
        record.timing["total_seconds"]
        + record.timing["train_seconds"] * (cell.training.epochs / record.config["training"]["epochs"] - 1)
        for record in records
        if (record.variant, record.dataset, record.profile) == (cell.variant_name, cell.dataset.name, cell.profile)
        and record.status == "ok"
        and record.timing.keys() >= {"total_seconds", "train_seconds"}
    ]
    return statistics.median(found) if found else None


def longest_first(cells: Sequence[Config], records: Sequence[Record]) -> list[Config]:
    """Cells in the order that leaves the fewest workers idle at the end; those of unknown length before all others. It
    saved a quarter of the time of three cells on two cores, of which the last takes twice as long as the others."""
    seconds = {cell.run_id: _expected_seconds(cell, records) for cell in cells}
    return sorted(cells, key=lambda cell: -(seconds[cell.run_id] or float("inf")))


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
    check_writable(setting.results)
    summary = Summary()
    states = to_do(cells, setting, retry)
    wanted = []
    for cell in {cell.run_id: cell for cell in cells}.values():
        if states[cell.run_id].startswith("done"):
            tqdm.write(f"{cell.run_id}: already there ({states[cell.run_id].removeprefix('done ').strip('()')})")
            summary.skipped.append(cell.run_id)
        else:
            wanted.append(cell)
    loaded = _load(wanted, setting.data_root, summary)
    ready = [cell for cell in wanted if cell.dataset.name in loaded]
    jobs = min(jobs or default_jobs(setting.device), max(1, len(ready)))
    names = list(loaded)
    states_of = Counter({"to do": len(ready)})
    with tqdm(total=len(ready), unit="cell", disable=None if len(ready) > 1 else True) as bar:

        def started(cell: Config) -> None:
            states_of.update({"to do": -1, "running": 1})
            bar.set_postfix({state: count for state, count in states_of.items() if count})

        if jobs > 1 or timeout is not None:
            # The workers load for themselves.
            loaded.clear()
            ordered = longest_first(ready, read_records(setting.results)[0])
            outcomes = side_by_side(ordered, setting, jobs, retry, timeout, started)
        else:
            outcomes = _one_by_one(ready, setting, loaded, retry, started)
        for cell, record in outcomes:
            states_of.update({"running": -1, "elsewhere" if record is None else record.status: 1})
            bar.set_postfix({state: count for state, count in states_of.items() if count})
            bar.update()
            if record is None:
                summary.elsewhere.append(cell.run_id)
                tqdm.write(f"{cell.run_id}: is being run by another process, left to it")
            else:
                summary.ran.append(record)
                tqdm.write(f"[{len(summary.ran)}/{len(ready)}] {record.run_id}: {outcome(record)}")
    write_missing_data(setting.results, summary.missing_data, names)
    return summary


def run_on(
    launcher: str, cells: Sequence[Config], setting: Setting, retry: bool, launcher_overrides: Sequence[str]
) -> Summary:
    """As :func:`run`, by one of Hydra's launchers, which fetches no data: every job loads its own."""
    from benchmarks.launchers import launch

    check_writable(setting.results)
    summary = Summary()
    states = to_do(cells, setting, retry)
    wanted = [cell for cell in cells if states[cell.run_id].startswith("run")]
    summary.skipped = [run_id for run_id, state in states.items() if state.startswith("done")]
    if wanted:
        for cell, record in launch(wanted, setting, launcher, retry, launcher_overrides):
            if record is None:
                summary.elsewhere.append(cell.run_id)
            else:
                summary.ran.append(record)
                tqdm.write(f"[{len(summary.ran)}/{len(wanted)}] {record.run_id}: {outcome(record)}")
    return summary


def _one_by_one(
    cells: Sequence[Config],
    setting: Setting,
    loaded: dict[str, Dataset],
    retry: bool,
    started: Callable[[Config], None],
) -> Iterator[tuple[Config, Record | None]]:
    for cell in cells:
        started(cell)
        try:
            yield cell, run_once(cell, setting, partial(loaded.__getitem__, cell.dataset.name), retry)
        except LockedError:
            yield cell, None


def _load(cells: Sequence[Config], data_root: Path, summary: Summary) -> dict[str, Dataset]:
    """Every data set that the cells need and that can be had, by name; the others go into the summary."""
    loaded: dict[str, Dataset] = {}
    for config in {cell.dataset.name: cell.dataset for cell in cells}.values():
        try:
            loaded[config.name] = load(config, data_root)
        except UserError as error:
            summary.missing_data[config.name] = str(error)
            log.error("%s", error)
    return loaded


def outcome(record: Record) -> str:
    """A cell's result in one line."""
    if record.status != "ok":
        assert record.error is not None
        return f"{record.status}: {record.error['type']}: {record.error['message']}"
    shown = [f"{name} {record.metrics[name]:.2f}" for name in ("elbo", "log_likelihood") if name in record.metrics]
    return ", ".join([*shown, f"mse {record.metrics['mse']:.4f}", f"{record.timing['total_seconds']:.0f} s"])


def check_writable(results: Path) -> None:
    """Raises ``UserError`` for a results folder that takes no files."""
    try:
        (results / "runs").mkdir(parents=True, exist_ok=True)
        probe = results / "runs" / ".writable"
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        raise UserError(f"results folder {str(results)!r} is not writable: {error.strerror}") from None
