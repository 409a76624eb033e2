"""How close a reconstruction is to its image."""

from __future__ import annotations

from torch import Tensor


def mse(x: Tensor, reconstruction: Tensor) -> float:
    """Squared error per pixel channel, averaged over images (n, channels, height, width) in [0, 1]."""
    return float((x - reconstruction).double().square().mean())
