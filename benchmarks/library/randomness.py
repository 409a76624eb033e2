"""Random numbers of a call, separate from those of its caller."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from benchmarks.library.checks import whole_number
from benchmarks.seeding import kept_random_state, seed_everything


@contextlib.contextmanager
def drawn_from(seed: int | None, device: torch.device, purpose: str) -> Iterator[None]:
    """Draw from a separate stream that starts from ``seed``; without a seed, from the caller's stream.

    Raises :class:`UserError` for a seed that is not a whole number from 0.
    """
    if seed is None:
        yield
        return
    with kept_random_state(device):
        seed_everything(whole_number("seed", seed, 0), purpose)
        yield
