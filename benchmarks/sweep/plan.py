"""Plans a sweep: which cells will run, and the expected time from earlier records."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Collection, Sequence
from functools import cache, partial
from math import inf

from benchmarks.conf_files import conf_folder
from benchmarks.config import Config, compose_seeds
from benchmarks.data import load
from benchmarks.environment import numerics
from benchmarks.progress.report import duration
from benchmarks.records.record import Record, read_records
from benchmarks.sweep.cell import FAILED_STEPS, Setting, from_other_data, incomplete, stored
from benchmarks.sweep.estimate import Estimates
from benchmarks.sweep.workers import default_jobs
from benchmarks.wording import counted

log = logging.getLogger(__name__)

# The folder of the records that come with a checkout. It does not exist in an installed package.
COMMITTED = conf_folder().parent / "results"


def plan(
    variants: Sequence[str], datasets: Sequence[str], seeds: Sequence[int], profile: str, overrides: Sequence[str]
) -> list[Config]:
    """Compose and check the configuration of every cell before anything is run. Raises ``UserError``."""
    return [cell for d in datasets for v in variants for cell in compose_seeds(v, d, profile, seeds, overrides)]


def to_do(cells: Sequence[Config], setting: Setting, retry: bool) -> dict[str, str]:
    """What a sweep will do with each cell, by run id: "run", "run again (<why>)" or "done (<status>)". The status is
    "published" if there is only a published record. No file is changed. Raises :class:`UserError` for a record that
    must not be replaced."""
    known = read_records(setting.results)[0] if setting.skip_published else []
    # Includes local and published records. A cell of this set without a local record has a published one.
    ended_well = {record.run_id for record in known if record.status == "ok"}
    states = {}
    datasets = {repr(cell.dataset): cell.dataset for cell in cells}

    @cache
    def digest(dataset: str) -> str:
        return load(datasets[dataset], setting.data_root).sha256

    for cell in cells:
        held = stored(cell, setting)
        record = held.record
        if record is None and held.path is not None:
            states[cell.run_id] = "run again (its record is invalid)"
            log.warning("%s", held.problem)
        elif record is None:
            states[cell.run_id] = "done (published)" if cell.run_id in ended_well else "run"
        elif from_other_data(record, cell, partial(digest, repr(cell.dataset))):
            states[cell.run_id] = "run again (its record was made from different data)"
        else:
            failed = record.details.get(FAILED_STEPS, {})
            status = f"{record.status}, failed: {', '.join(failed)}" if failed else record.status
            states[cell.run_id] = f"{'run again' if retry and incomplete(record) else 'done'} ({status})"
    return states


def describe_plan(
    cells: Sequence[Config], setting: Setting, retry: bool, jobs: int | None, launcher: str | None = None
) -> str:
    """Describe the plan for a dry run: one line per run, then counts and the expected time. Times are estimated from
    similar records in the results folder, otherwise from records that come with the checkout, which the text then
    says. How many runs a ``launcher`` starts at a time is not known here: the time is then that of all runs in turn."""
    states = to_do(cells, setting, retry)
    device = numerics(setting.device)["device"]
    records, _ = read_records(setting.results)
    estimates = Estimates(records, device)
    known = {cell.run_id: estimates.of(cell) for cell in cells}
    without = {cell.run_id: cell for cell in cells if known[cell.run_id] is None}
    committed = read_records(COMMITTED)[0] if without else []
    from_committed = Estimates(committed, device)
    known |= {run_id: from_committed.of(cell) for run_id, cell in without.items()}
    lines = []
    for run_id, state in states.items():
        about = known[run_id]
        time = f", about {duration(about.total)}" if state.startswith("run") and about is not None else ""
        lines.append(f"{run_id}: {state}{time}")
    pending = [run_id for run_id, state in states.items() if state.startswith("run")]
    lines.append(f"{counted(len(states), 'run')}: {len(states) - len(pending)} done, {len(pending)} to do")
    seconds = [about.total for run_id in pending if (about := known[run_id]) is not None]
    if seconds:
        # Runs on a data set without records are assumed to take the median of the others.
        total = sum(seconds) + (len(pending) - len(seconds)) * statistics.median(seconds)
        side = 1 if launcher else min(jobs or default_jobs(setting.device), len(pending))
        whole = max(total / side, *seconds)
        unknown = len(pending) - len(seconds)
        guessed = f"; {counted(unknown, 'run')} on a data set without records" if unknown else ""
        if foreign := [run_id for run_id in pending if run_id in without and known[run_id] is not None]:
            guessed += f"; {counted(len(foreign), 'run')} estimated from records that come with the suite, made on "
            guessed += ", ".join(_devices(committed, {without[run_id].dataset.name for run_id in foreign}))
        how = (
            f"one after another (the launcher {launcher} decides how many run at a time)"
            if launcher
            else f"with {side} at a time"
        )
        lines.append(f"about {duration(whole)} {how}, estimated from records of similar runs{guessed}")
    elif pending:
        lines.append("no time estimate, because there are no records of these data sets yet")
    return "\n".join(lines)


def _devices(records: Sequence[Record], datasets: Collection[str]) -> list[str]:
    """The names of the devices on which the records of these data sets were made."""
    return sorted({str(record.environment.get("device", "?")) for record in records if record.dataset in datasets})


def longest_first(cells: Sequence[Config], records: Sequence[Record], device: str | None = None) -> list[Config]:
    """Sort cells by decreasing expected time, so that few workers are idle at the end. Cells of unknown time come
    first. This saved a quarter of the time of three cells on two cores, where the last cell took twice as long as each
    of the others."""
    estimates = Estimates(records, device)
    return sorted(cells, key=lambda cell: -(inf if (about := estimates.of(cell)) is None else about.total))
