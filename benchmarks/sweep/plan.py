"""What a sweep will do, and how long that takes by earlier records."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Sequence
from functools import cache, partial

from benchmarks.config import Config, compose_seeds
from benchmarks.data import load
from benchmarks.records.record import Record, read_records
from benchmarks.sweep.cell import FAILED_STEPS, Setting, from_other_data, incomplete, stored
from benchmarks.sweep.workers import default_jobs
from benchmarks.wording import counted

log = logging.getLogger(__name__)


def plan(
    variants: Sequence[str], datasets: Sequence[str], seeds: Sequence[int], profile: str, overrides: Sequence[str]
) -> list[Config]:
    """The checked configuration of every cell, before anything is touched. Raises ``UserError``."""
    return [cell for d in datasets for v in variants for cell in compose_seeds(v, d, profile, seeds, overrides)]


def to_do(cells: Sequence[Config], setting: Setting, retry: bool) -> dict[str, str]:
    """What is to become of each cell, by run id: "run", "run again (<why>)" or "done (<status>)"; the status is
    "published" where there is a published record alone. Nothing is changed. Raises :class:`UserError` for a record that
    may not be replaced."""
    known = read_records(setting.results)[0] if setting.skip_published else []
    # One that has no local record below is a published one.
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
            states[cell.run_id] = "run again (its record cannot be trusted)"
            log.warning("%s", held.problem)
        elif record is None:
            states[cell.run_id] = "done (published)" if cell.run_id in ended_well else "run"
        elif from_other_data(record, cell, partial(digest, repr(cell.dataset))):
            states[cell.run_id] = "run again (its record was made from other data)"
        else:
            failed = record.details.get(FAILED_STEPS, {})
            status = f"{record.status}, failed: {', '.join(failed)}" if failed else record.status
            states[cell.run_id] = f"{'run again' if retry and incomplete(record) else 'done'} ({status})"
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
    lines.append(f"{counted(len(states), 'cell')}: {len(states) - len(pending)} done, {len(pending)} to do")
    estimates = [known for run_id in pending if (known := seconds[run_id]) is not None]
    if estimates:
        # Cells of a kind that has no record yet take the others' median.
        total = sum(estimates) + (len(pending) - len(estimates)) * statistics.median(estimates)
        side = jobs or default_jobs(setting.device)
        minutes = counted(round(total / 60 / min(side, len(pending))), "minute")
        lines.append(f"about {minutes} with {side} at a time, by records of {len(estimates)} of them")
    return "\n".join(lines)


def _expected_seconds(cell: Config, records: Sequence[Record]) -> float | None:
    """The median time of earlier cells of the same variant, data set, profile and unit of the budget, had they trained
    as long."""
    length, unit = cell.training.length
    found = [
        record.timing["total_seconds"] + record.timing["train_seconds"] * (length / record.config["training"][unit] - 1)
        for record in records
        if (record.variant, record.dataset, record.profile) == (cell.variant_name, cell.dataset.name, cell.profile)
        and record.status == "ok"
        and record.timing.keys() >= {"total_seconds", "train_seconds"}
        and ("steps" in record.config["training"]) == (unit == "steps")
    ]
    return statistics.median(found) if found else None


def longest_first(cells: Sequence[Config], records: Sequence[Record]) -> list[Config]:
    """Cells in the order that leaves the fewest workers idle at the end; those of unknown length before all others. It
    saved a quarter of the time of three cells on two cores, of which the last takes twice as long as the others."""
    seconds = {cell.run_id: _expected_seconds(cell, records) for cell in cells}
    return sorted(cells, key=lambda cell: -(seconds[cell.run_id] or float("inf")))
