"""Seeds: every random stream is a pure function of the cell's seed and the purpose of the stream.

The stream of an epoch does not depend on earlier epochs, so a run that continues from a checkpoint draws the same
numbers as an uninterrupted run.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator

import torch

CPU = torch.device("cpu")


def seed_everything(seed: int, *purpose: str | int) -> None:
    """Seed torch on all devices for one purpose, for example ``seed_everything(0, "epoch", 3)``."""
    text = ":".join(str(part) for part in (seed, *purpose))
    torch.manual_seed(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1)


@contextlib.contextmanager
def kept_random_state(device: torch.device = CPU) -> Iterator[None]:
    """Restore torch's random state after the block: on the CPU, on ``device`` and, because a seed is that of all
    devices, on every CUDA device in use."""
    devices = [device] if device.type == "cuda" else []
    if torch.cuda.is_initialized():
        devices = [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    with torch.random.fork_rng(devices):
        yield
