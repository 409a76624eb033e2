"""Detection of runs that were timed on a machine that others used at the same time."""

from __future__ import annotations

from typing import Any

from benchmarks.records.record import LOAD, Record

# The detail that says whether a run was timed on a busy machine.
BUSY = "busy"
# How much the load may exceed the run's own: for other processes of a desktop, and for what runs do besides computing.
TOLERANCE = 0.25


def load_details(start: float | None, end: float | None, own: float) -> dict[str, Any]:
    """The details of a record that say how busy the machine was.

    ``start`` and ``end``: the load averages of the minutes before the run began and before it ended, divided by the
    number of cores; None if the system does not report them. (The load is the number of processes that compute or wait
    for the disk.) ``own``: the load per core of the run and its sweep.
    """
    loads = {name: load for name, load in (("start", start), ("end", end)) if load is not None}
    rounded = {name: round(load, 2) for name, load in {**loads, "own": own}.items()}
    return {LOAD: rounded, BUSY: any(load > own + TOLERANCE for load in loads.values())}


def was_busy(record: Record) -> bool:
    """Whether the machine was busier than the run and its sweep explain. False if the record does not say."""
    return record.details.get(BUSY) is True


def highest_load(record: Record) -> tuple[float, float]:
    """The higher of a run's two loads per core, and its own load per core."""
    load = {name: value or 0.0 for name, value in (record.details.get(LOAD) or {}).items()}
    return max(load.get("start", 0.0), load.get("end", 0.0)), load.get("own", 0.0)
