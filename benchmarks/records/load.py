"""Whether a run was timed on a machine that others used at the same time."""

from __future__ import annotations

from typing import Any

from benchmarks.records.record import LOAD, Record

# The detail of a record that says that its times are those of a busy machine.
BUSY = "busy"
# How much more than its own a load may be: other processes of a desktop, and what runs do beside computing.
TOLERANCE = 0.25


def load_details(start: float | None, end: float | None, own: float) -> dict[str, Any]:
    """The details of a record that say how busy the machine was.

    ``start`` and ``end``: processes that computed or waited for the disk, the average of the minute before the run
    began and ended, divided by the number of cores; None where the system does not tell. ``own``: how many of them are
    those of the run and of its sweep.
    """
    loads = {name: load for name, load in (("start", start), ("end", end)) if load is not None}
    rounded = {name: round(load, 2) for name, load in {**loads, "own": own}.items()}
    return {LOAD: rounded, BUSY: any(load > own + TOLERANCE for load in loads.values())}


def was_busy(record: Record) -> bool:
    """Whether the machine was busier than the run and its sweep explain. False where the record does not say."""
    return record.details.get(BUSY) is True


def highest_load(record: Record) -> tuple[float, float]:
    """The higher of a run's two loads a core, and its own share of it."""
    load = {name: value or 0.0 for name, value in (record.details.get(LOAD) or {}).items()}
    return max(load.get("start", 0.0), load.get("end", 0.0)), load.get("own", 0.0)
