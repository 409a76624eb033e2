"""Measured seconds, ratios of repeats, and their tables."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import torch
from tabulate import tabulate


def ratios(reference: Sequence[float], own: Sequence[float]) -> str:
    """The median of the repeats' ratios, above 1 where ``own`` seconds are fewer, with their quartiles."""
    return with_quartiles([a / b for a, b in zip(reference, own, strict=True)])


def with_quartiles(values: Sequence[float]) -> str:
    """The median, with the first and the third quartile where there are two values or more."""
    if min(values) == max(values):
        return f"{statistics.median(values):.2f}"
    first, middle, third = statistics.quantiles(values, n=4, method="inclusive")
    return f"{middle:.2f} ({first:.2f} to {third:.2f})"


def in_every_repeat(reference: Sequence[float], own: Sequence[float]) -> str:
    """ "faster" or "slower" where ``own`` seconds are fewer or more in every repeat, else a dash: the repeats do not
    tell the two apart."""
    pairs = list(zip(reference, own, strict=True))
    return "faster" if all(a > b for a, b in pairs) else "slower" if all(a < b for a, b in pairs) else "–"


def as_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, names at the left and numbers at the right."""
    aligned = ("left", *["right"] * (len(header) - 1))
    return tabulate(rows, header, tablefmt="pipe", colalign=aligned, disable_numparse=True)


def seconds_of(work: Callable[[], object], device: torch.device, count: int = 1) -> float:
    """Wall-clock seconds of doing ``work`` ``count`` times, with the device idle before and after them."""
    _wait(device)
    started = time.perf_counter()
    for _ in range(count):
        work()
    _wait(device)
    return time.perf_counter() - started


def _wait(device: torch.device) -> None:
    """Until a GPU's queue is empty, so that what was asked for is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
