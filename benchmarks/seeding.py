"""Seeds: every random stream is a pure function of the cell's seed and the purpose of the stream.

The stream of an epoch does not depend on earlier epochs, so a run that continues from a checkpoint draws the same
numbers as an uninterrupted run.
"""

from __future__ import annotations

import hashlib

import torch


def seed_everything(seed: int, *purpose: str | int) -> None:
    """Seed torch on all devices for one purpose, for example ``seed_everything(0, "epoch", 3)``."""
    text = ":".join(str(part) for part in (seed, *purpose))
    torch.manual_seed(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1)
