"""Repeated timing of several functions in turn, on a machine that may be busy with other work."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

# Number of cores that other processes may use during a round, for the background work of the system.
QUIET = 0.1


@dataclass
class Rounds:
    """The timings of several rounds.

    ``seconds``: name -> seconds in each valid round. ``others``: the number of cores that other processes used in each
    of these rounds, 0 if the system does not report it. ``repeated``: the number of rounds that were repeated because
    the machine was busy.
    """

    seconds: dict[str, list[float]]
    others: list[float] = field(default_factory=list)
    repeated: int = 0

    @property
    def note(self) -> str:
        """A sentence about the load of the machine during the measurement, or "" if there is nothing to report."""
        busy = [cores for cores in self.others if cores > QUIET]
        if busy:
            return (
                f"**The machine was busy**: other processes used up to {max(busy):.1f} cores in {len(busy)} of "
                f"{len(self.others)} rounds, after {self.repeated} were repeated. Measure again."
            )
        return f"Rounds repeated because other processes were computing: {self.repeated}." if self.repeated else ""


def in_turn(timed: Mapping[str, Callable[[], float]], repeats: int) -> Rounds:
    """Call the functions ``timed``, which return the seconds that they took, in turn for ``repeats`` rounds.

    A first round warms up caches and allocators and is not counted. A round during which other processes compute is
    repeated, but at most ``repeats`` rounds are repeated in total.
    """
    found = Rounds({name: [] for name in timed})
    for work in timed.values():
        work()
    while len(found.others) < repeats:
        before = used()
        taken = {name: work() for name, work in timed.items()}
        busy = others(before, used())
        if busy > QUIET and found.repeated < repeats:
            found.repeated += 1
            continue
        found.others.append(busy)
        for name, seconds in taken.items():
            found.seconds[name].append(seconds)
    return found


def others(before: tuple[float, float, float], after: tuple[float, float, float]) -> float:
    """The number of cores that processes outside this process group used between two calls of :func:`used`."""
    wall, everything, own = (b - a for a, b in zip(before, after, strict=True))
    return max(0.0, everything - own) / wall


def used() -> tuple[float, float, float]:
    """Wall-clock time, processor time of all processes, and processor time of this process group, in seconds.

    The process group includes workers and peers. The last two numbers are 0 if the system does not report them.
    """
    now, tick = time.perf_counter(), os.sysconf("SC_CLK_TCK")
    try:
        _, *ticks = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    except OSError:
        return now, 0.0, 0.0
    # The fields are user, nice, system, idle, iowait, irq, softirq and steal.
    user, nice, system, _, _, *rest = map(int, ticks[:8])
    own = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The process name, in parentheses, may contain any character.
            parts = path.read_text().rpartition(")")[2].split()
        except OSError:  # the process has ended
            continue
        if int(parts[2]) == os.getpgrp():
            own += sum(map(int, parts[11:15]))
    return now, (user + nice + system + sum(rest)) / tick, own / tick
