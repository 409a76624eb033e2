"""Progress reports: code reports what it is doing, and a listener receives the reports.

Without a listener, a report costs almost nothing. Reports never wait for the device, and counts are sent at most twice
a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TypeVar

# Seconds between two reports of a count.
INTERVAL = 0.5

T = TypeVar("T")


@dataclass(frozen=True)
class Status:
    """What a process is doing. ``doing``: a text such as "evaluating: likelihood". ``done``, ``total`` and ``unit``: a
    count; ``total`` is 0 if there is none. ``left``: seconds until training ends, None outside training. ``notes``:
    further texts such as "5,230 images/s"."""

    doing: str
    done: int = 0
    total: int = 0
    unit: str = ""
    left: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The activity and its count, without the time left."""
        return f"{self.doing}, {self.done:,}/{self.total:,} {self.unit}" if self.total else self.doing


Listener = Callable[[Status], None]


class _Channel:
    def __init__(self, listener: Listener) -> None:
        self.listener, self.current, self.due = listener, Status("starting"), 0.0
        self.depth = 0

    def send(self, status: Status) -> None:
        self.current, self.due = status, time.monotonic() + INTERVAL
        self.listener(status)


_channel: ContextVar[_Channel | None] = ContextVar("progress", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Send all reports of the block to ``listener``."""
    token = _channel.set(_Channel(listener))
    try:
        yield
    finally:
        _channel.reset(token)


def has_listener() -> bool:
    """Whether reports are received by a listener."""
    return _channel.get() is not None


def report(status: Status) -> None:
    """Send ``status`` now."""
    if (channel := _channel.get()) is not None:
        channel.send(status)


@contextmanager
def doing(what: str) -> Iterator[None]:
    """Report that the block does ``what``. At its end, the status of an enclosing block is reported again."""
    channel = _channel.get()
    if channel is None:
        yield
        return
    before = channel.current
    channel.send(Status(what))
    channel.depth += 1
    try:
        yield
    finally:
        channel.depth -= 1
        if channel.depth:
            channel.send(before)


def counted_off(parts: Iterable[T], total: int, unit: str, size: Callable[[T], int] = lambda part: 1) -> Iterator[T]:
    """Yield ``parts`` and report their number, or the sum of their ``size``, as a count of ``total`` ``unit``."""
    channel = _channel.get()
    if channel is None:
        yield from parts
        return
    before, done = channel.current, 0
    try:
        for part in parts:
            if time.monotonic() >= channel.due:
                channel.send(replace(before, done=done, total=total, unit=unit))
            yield part
            done += size(part)
    finally:
        channel.current = before


def duration(seconds: float) -> str:
    """A time as text with at most two units: "45 s", "2 min 10 s", "1 h 20 min", "3 d 4 h"."""
    whole = max(0, round(seconds))
    for unit, length, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= length:
            rest = whole % length // part
            return f"{whole // length} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{whole} s"
