"""Things timed in turn, round after round, on a machine that may have other work."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

# Cores that other processes may use during a round: what a system does by itself.
QUIET = 0.1


@dataclass
class Rounds:
    """``seconds`` of everything in every round that counts, and how many cores other processes used in each
    (``others``, empty where the system does not say). ``repeated``: rounds on a busy machine that were done again."""

    seconds: dict[str, list[float]]
    others: list[float] = field(default_factory=list)
    repeated: int = 0

    @property
    def note(self) -> str:
        """What to know of the machine while it was measured, as a sentence; "" where there is nothing."""
        busy = [cores for cores in self.others if cores > QUIET]
        if busy:
            return (
                f"**The machine was busy**: other processes used up to {max(busy):.1f} cores in {len(busy)} of "
                f"{len(self.others)} rounds, after {self.repeated} were repeated. Measure again."
            )
        return f"Rounds repeated because other processes were computing: {self.repeated}." if self.repeated else ""


def in_turn(timed: Mapping[str, Callable[[], float]], repeats: int) -> Rounds:
    """Call everything that is ``timed`` (each gives the seconds it took) in turn, ``repeats`` times after a round that
    warms up caches and allocators. A round during which other processes compute is done again, as long as there are no
    more of these than of the others."""
    found = Rounds({name: [] for name in timed})
    for work in timed.values():
        work()
    while len(found.others) < repeats:
        before = _used()
        taken = {name: work() for name, work in timed.items()}
        others = _others(before, _used())
        if others > QUIET and found.repeated < repeats:
            found.repeated += 1
            continue
        found.others.append(others)
        for name, seconds in taken.items():
            found.seconds[name].append(seconds)
    return found


def _others(before: tuple[float, float, float], after: tuple[float, float, float]) -> float:
    """Cores that all but this process's group used in between."""
    wall, everything, own = (b - a for a, b in zip(before, after, strict=True))
    return max(0.0, everything - own) / wall


def _used() -> tuple[float, float, float]:
    """Seconds: the time, the processor time of all processes, and that of this process's group, where its workers and
    the peers are, too. The last two are 0 where the system does not say."""
    now, tick = time.perf_counter(), os.sysconf("SC_CLK_TCK")
    try:
        _, *ticks = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    except OSError:
        return now, 0.0, 0.0
    # user, nice, system, then idle and waiting for the disk, then interrupts, and what other machines took of this one.
    user, nice, system, _, _, *rest = map(int, ticks[:8])
    own = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name in parentheses may hold anything.
            parts = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(parts[2]) == os.getpgrp():
            own += sum(map(int, parts[11:15]))
    return now, (user + nice + system + sum(rest)) / tick, own / tick
