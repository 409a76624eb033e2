"""Estimated time of paper targets, from earlier records or from the file of the target."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tabulate import tabulate

from benchmarks.config import Config
from benchmarks.environment import numerics
from benchmarks.progress.report import duration
from benchmarks.records.identity import identity
from benchmarks.records.record import Record
from benchmarks.reproduction.targets import Target
from benchmarks.sweep.workers import default_jobs
from benchmarks.wording import counted

# TARGETS=quick selects the targets that take at most this many seconds each.
QUICK_SECONDS = 600
OTHER_HARDWARE = ", other hardware"


@dataclass(frozen=True)
class Asked:
    """A target with a chosen budget, and the cells of each of its arms."""

    target: Target
    budget: str
    arms: dict[str, list[Config]]

    @property
    def cells(self) -> list[Config]:
        """The cells of all arms, without duplicates."""
        return list({config.run_id: config for configs in self.arms.values() for config in configs}.values())


@dataclass(frozen=True)
class Cost:
    """Estimated seconds of each cell by run id (empty if there is no estimate), and the source of the estimate."""

    seconds: Mapping[str, float]
    known_from: str

    def wall(self, run_ids: Sequence[str], side: int) -> float | None:
        """Wall-clock seconds for these cells, with ``side`` of them at a time; None if there is no estimate."""
        if not self.seconds:
            return None
        lengths = [self.seconds[run_id] for run_id in run_ids]
        return max(max(lengths, default=0.0), sum(lengths) / side)


def cost(asked: Asked, records: Sequence[Record], device: str) -> Cost:
    """Estimate the time of a target's cells on the device with the name ``device``.

    For each cell, the estimate is from earlier records on this device with the same recipe and any seed, or else from
    records of the same model, scaled to the length of training. If a cell has neither, the estimate is from the file of
    the target, or else from records on all devices in the same way.
    """
    timed = [r for r in records if r.status == "ok" and r.timing.keys() >= {"total_seconds", "train_seconds"}]
    here = [record for record in timed if record.environment.get("device") == device]
    if found := _by_records(asked, here):
        return found
    budget = {"full": asked.target.full, "reduced": asked.target.reduced}.get(asked.budget)
    if budget is not None and budget.minutes is not None:
        cells = asked.cells
        return Cost({cell.run_id: 60 * budget.minutes / len(cells) for cell in cells}, "the target's file")
    if found := _by_records(asked, timed):
        return Cost(found.seconds, f"{found.known_from}{OTHER_HARDWARE}")
    return Cost({}, "")


def _by_records(asked: Asked, records: Sequence[Record]) -> Cost | None:
    """The estimate from these records, or None if they do not cover every cell."""
    own = {cell.run_id: seconds for cell in asked.cells if (seconds := _of_recipe(cell, records)) is not None}
    others = [cell for cell in asked.cells if cell.run_id not in own]
    alike = {cell.run_id: seconds for cell in others if (seconds := _of_model(cell, records)) is not None}
    if len(alike) < len(others):
        return None
    return Cost(own | alike, "records of the same model" if alike else "records of the same recipe")


def _of_recipe(cell: Config, records: Sequence[Record]) -> float | None:
    """The median time of records that differ at most in the seed."""
    wanted = _recipe(cell.resolved())
    found = [record.timing["total_seconds"] for record in records if _recipe(record.config) == wanted]
    return statistics.median(found) if found else None


def _of_model(cell: Config, records: Sequence[Record]) -> float | None:
    """The median time of records of the same model, data, batch size, precision and budget unit (epochs or steps).

    Each time is scaled to the training length of ``cell``.
    """
    wanted = cell.resolved()
    length, unit = cell.training.length
    found = []
    for record in records:
        same_unit = ("steps" in record.config["training"]) == (unit == "steps")
        if same_unit and _model(record.config) == _model(wanted):
            longer = length / record.config["training"][unit]
            found.append(record.timing["total_seconds"] + (longer - 1) * record.timing["train_seconds"])
    return statistics.median(found) if found else None


def _recipe(config: Mapping[str, Any]) -> dict[str, Any]:
    return {**identity(config), "seed": None}


def _model(config: Mapping[str, Any]) -> list[Any]:
    same = identity(config)
    training = {name: same["training"].get(name) for name in ("batch_size", "precision")}
    return [same["variant"], same["network"], same["dataset"], training, "steps" in same["training"]]


def is_quick(asked: Asked, records: Sequence[Record], device: torch.device, jobs: int | None) -> bool:
    """Whether running all cells of a target from scratch is known to take at most :data:`QUICK_SECONDS` here."""
    known = cost(asked, records, str(numerics(device)["device"]))
    if known.known_from.endswith(OTHER_HARDWARE):
        return False
    whole = known.wall([cell.run_id for cell in asked.cells], jobs or default_jobs(device))
    return whole is not None and whole <= QUICK_SECONDS


def describe(
    asked: Sequence[Asked], states: Mapping[str, str], records: Sequence[Record], device: torch.device, jobs: int | None
) -> str:
    """A table with a row per target, and a line with the total.

    A row has the number of runs, the number of runs without a record, and the estimated time of all runs and of the
    remaining ones. A run has no record if its entry in ``states`` (by run id) begins with "run".
    """
    side, name = jobs or default_jobs(device), str(numerics(device)["device"])
    lines: list[list[Any]] = []
    left: dict[str, float | None] = {}
    for one in asked:
        known = cost(one, records, name)
        ids = [cell.run_id for cell in one.cells]
        pending = [run_id for run_id in ids if states[run_id].startswith("run")]
        whole, rest = known.wall(ids, side), known.wall(pending, side)
        lines.append([
            one.target.id, one.budget, len(ids), len(pending), "?" if whole is None else duration(whole),
            "nothing" if not pending else "?" if rest is None else duration(rest), known.known_from or "no record",
        ])  # fmt: skip
        # If several targets share a run, only some of them may have an estimate of its time.
        left |= {run_id: known.seconds.get(run_id, left.get(run_id)) for run_id in pending}
    header = ["target", "budget", "runs", "to do", "total time", "remaining time", "estimated from"]
    lengths = [seconds for seconds in left.values() if seconds is not None]
    unknown = len(left) - len(lengths)
    total = f"{counted(len(states), 'run')}: {len(states) - len(left)} done, {len(left)} to do"
    if lengths:
        total += f", about {duration(max(max(lengths), sum(lengths) / side))} with {side} at a time"
    if unknown:
        total += f"{', and' if lengths else ','} {counted(unknown, 'run')} of unknown length"
    return f"{tabulate(lines, header, disable_numparse=True)}\n{total}"
