"""Seeds: every random stream is a pure function of the cell's seed and of what it is for.

An epoch's stream does not depend on the epochs before it, so a run continued from a checkpoint draws what an
uninterrupted one would have drawn.
"""

from __future__ import annotations

import hashlib

import torch


def seed_everything(seed: int, *purpose: str | int) -> None:
    """Seed torch on all devices for one purpose, e.g. ``seed_everything(0, "epoch", 3)``."""
    text = ":".join(str(part) for part in (seed, *purpose))
    torch.manual_seed(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1)
