"""Random numbers of a call, and those of its caller."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from benchmarks.seeding import seed_everything


@contextlib.contextmanager
def kept_random_numbers(device: torch.device) -> Iterator[None]:
    """What the block draws, which seeds torch itself, does not move the caller's random numbers."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield


@contextlib.contextmanager
def drawn_from(seed: int | None, device: torch.device, purpose: str) -> Iterator[None]:
    """Draw from a stream of one's own that ``seed`` begins; without a seed, from the caller's."""
    if seed is None:
        yield
        return
    with kept_random_numbers(device):
        seed_everything(seed, purpose)
        yield
