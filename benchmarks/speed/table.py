"""Timing, ratios over repeats, and tables."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import torch
from tabulate import tabulate


def ratios(reference: Sequence[float], own: Sequence[float]) -> str:
    """Median and quartiles over repeats of ``reference`` / ``own`` seconds, which is above 1 if ``own`` is faster."""
    return with_quartiles([a / b for a, b in zip(reference, own, strict=True)])


def with_quartiles(values: Sequence[float]) -> str:
    """The median, with the first and third quartiles unless all values are equal."""
    if min(values) == max(values):
        return f"{statistics.median(values):.2f}"
    first, middle, third = statistics.quantiles(values, n=4, method="inclusive")
    return f"{middle:.2f} ({first:.2f} to {third:.2f})"


def in_every_repeat(reference: Sequence[float], own: Sequence[float]) -> str:
    """ "faster" or "slower" if ``own`` takes less or more time than ``reference`` in every repeat, otherwise a dash."""
    pairs = list(zip(reference, own, strict=True))
    return "faster" if all(a > b for a, b in pairs) else "slower" if all(a < b for a, b in pairs) else "–"


def as_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, with the first column aligned left and the others right."""
    aligned = ("left", *["right"] * (len(header) - 1))
    return tabulate(rows, header, tablefmt="pipe", colalign=aligned, disable_numparse=True)


def seconds_of(work: Callable[[], object], device: torch.device, count: int = 1) -> float:
    """Wall-clock seconds of ``count`` calls of ``work``. The device is synchronised before and after."""
    _wait(device)
    started = time.perf_counter()
    for _ in range(count):
        work()
    _wait(device)
    return time.perf_counter() - started


def _wait(device: torch.device) -> None:
    """Wait until all queued work of a GPU is finished."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
