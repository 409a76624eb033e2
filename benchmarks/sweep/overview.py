"""The state of a sweep: the runs in progress, how far each of them is, and the time until all have ended."""

from __future__ import annotations

import statistics
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.config import Config
from benchmarks.progress.report import Status, duration
from benchmarks.progress.screen import running_text
from benchmarks.records.record import Record
from benchmarks.sweep.estimate import Estimates, Expected
from benchmarks.wording import counted


@dataclass(frozen=True)
class Left:
    """Seconds until the end. If ``whole`` is False, a lower bound, because the time of the evaluation is unknown."""

    seconds: float
    whole: bool = False


@dataclass
class Running:
    """A run in progress. ``began``, ``heard`` (the last status) and ``trained`` (the end of training) are times of
    ``time.monotonic``."""

    began: float
    status: Status
    heard: float
    trained: float | None = None

    def hear(self, status: Status, now: float) -> None:
        if status.left is None and self.status.left is not None:
            self.trained = now
        self.status, self.heard = status, now

    def left(self, now: float, known: Expected | None) -> Left | None:
        """Time until the run ends, from the estimate ``known``; None without an estimate, except during training."""
        if self.status.left is not None:
            training = max(0.0, self.status.left - (now - self.heard))
            return Left(training) if known is None else Left(training + known.rest, whole=True)
        if known is None:
            return None
        begun, seconds = (self.began, known.total) if self.trained is None else (self.trained, known.rest)
        return Left(max(0.0, seconds - (now - begun)), whole=True)

    def text(self, now: float, known: Expected | None) -> str:
        """The status of the run and the time left, as text."""
        left = self.left(now, known)
        return running_text(self.status, now - self.heard, left.seconds if left is not None and left.whole else None)


class Overview:
    """Collects the state of a sweep's runs. The methods can be called from several threads.

    ``records`` are earlier records, from which times are estimated. ``side`` is the number of runs at the same time.
    """

    def __init__(self, cells: Sequence[Config], records: Sequence[Record], side: int, device: str | None) -> None:
        self._cells = {cell.run_id: cell for cell in cells}
        self._estimates, self._side = Estimates(records, device), side
        self._waiting = dict.fromkeys(self._cells)
        self._running: dict[str, Running] = {}
        self._ended: Counter[str] = Counter()
        self._own: tuple[Status, float] | None = None
        self._took: list[float] = []
        self._lock = threading.RLock()

    def started(self, run_id: str, now: float | None = None) -> str:
        """Store that a run begins, and return a line that says so."""
        now = time.monotonic() if now is None else now
        with self._lock:
            self._waiting.pop(run_id, None)
            self._own = None
            known = self._expected(run_id)
            self._running[run_id] = Running(now, Status("starting"), now)
            number = len(self._cells) - len(self._waiting)
            time_to_expect = "" if known is None else f", about {duration(known.total)}"
            return f"[{number}/{len(self._cells)}] {run_id}: started{time_to_expect}"

    def hear(self, run_id: str | None, status: Status, now: float | None = None) -> None:
        """Store the status of a run, or of the sweep itself (``run_id`` None), which loads the data before all runs."""
        now = time.monotonic() if now is None else now
        with self._lock:
            if run_id is None:
                self._own = (status, now)
            elif run_id in self._running:
                self._running[run_id].hear(status, now)

    def ended(self, run_id: str, record: Record | None, now: float | None = None) -> None:
        """Store that a run ended, with its record, or with None if another process runs it."""
        now = time.monotonic() if now is None else now
        with self._lock:
            running = self._running.pop(run_id, None)
            self._waiting.pop(run_id, None)
            self._ended["run by another process" if record is None else record.status] += 1
            if record is not None:
                self._estimates.add(record)
                if running is not None and record.status == "ok":
                    self._took.append(now - running.began)

    def drop(self, run_id: str) -> None:
        """Remove a run that cannot begin because its data are missing."""
        with self._lock:
            del self._cells[run_id], self._waiting[run_id]

    def left(self, now: float) -> Left | None:
        """Time until all runs have ended; None if nothing is known about one of them."""
        with self._lock:
            going = [(one.left(now, self._expected(run_id)), now - one.began) for run_id, one in self._running.items()]
            waiting = [self._expected(run_id) for run_id in self._waiting]
            totals = [*self._took, *(age + left.seconds for left, age in going if left is not None)]
        # Used for runs without an estimate from records: the mean time of the runs of this sweep.
        typical = statistics.fmean(totals) if totals else None
        found = [_or_typical(left, typical, age) for left, age in going]
        found += [_or_typical(None if known is None else Left(known.total, True), typical) for known in waiting]
        seconds = [left.seconds for left in found if left is not None]
        if len(seconds) < len(found) or not found:
            return None
        whole = all(left.whole for left in found if left is not None)
        return Left(max(sum(seconds) / min(self._side, len(seconds)), *seconds, 0.0), whole)

    def lines(self, now: float) -> list[str]:
        """One line for every run in progress, then a summary if the sweep has several runs."""
        with self._lock:
            width = max(map(len, self._running), default=0)
            lines = [
                f"{run_id:<{width}}  {running.text(now, self._expected(run_id))}"
                for run_id, running in self._running.items()
            ]
            if self._own is not None:
                status, heard = self._own
                lines.append(running_text(status, now - heard))
            if len(self._cells) > 1:
                lines.append(self._summary(now))
        return lines

    def _summary(self, now: float) -> str:
        ended = ", ".join(f"{count} {state}" for state, count in self._ended.items() if state != "ok")
        parts = [
            f"{sum(self._ended.values())} of {counted(len(self._cells), 'run')} finished" + f" ({ended})" * bool(ended)
        ]
        parts += [f"{len(self._running)} running"] if self._running else []
        left = self.left(now)
        if left is not None and (left.whole or left.seconds >= 1):
            parts.append(f"{'about' if left.whole else 'at least'} {duration(left.seconds)} left")
        return ", ".join(parts)

    def _expected(self, run_id: str) -> Expected | None:
        return self._estimates.of(self._cells[run_id])


def _or_typical(left: Left | None, typical: float | None, age: float = 0.0) -> Left | None:
    """Return ``left``, or if it is None the time left of a run of ``typical`` length that began ``age`` seconds ago."""
    if left is None and typical is not None:
        return Left(max(0.0, typical - age))
    return left
