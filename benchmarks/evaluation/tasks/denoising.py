"""Corrupted images, and how much closer to the clean images their reconstructions are.

All functions take images (n, channels, height, width) in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.evaluation.reconstruction import psnr

# Seed of the noise. It does not depend on the seed of the run.
NOISE_SEED = 0
# Noise is always drawn for this many images at once, so that the noise of an image does not depend on their number.
DRAWN = 100
# The squared error of half a grey level, which 8-bit images cannot show. Smaller errors are replaced by this one: weak
# noise leaves some small images unchanged, and their PSNR would be infinite.
SMALLEST_ERROR = (0.5 / 255) ** 2


def gaussian(x: Tensor, std: float) -> Tensor:
    """``x`` with independent normal noise of standard deviation ``std`` in each channel, clipped to [0, 1]."""
    return (x + std * _drawn(torch.randn, x, x.shape[1])).clamp(0, 1)


def salt_and_pepper(x: Tensor, share: float) -> Tensor:
    """``x`` with each pixel set to black or white (equally likely) in all channels, with probability ``share``."""
    u = _drawn(torch.rand, x, 1)
    return x.masked_fill(u < share, 1).masked_fill(u < share / 2, 0)


# Metric -> the noise function and its strength.
NOISES = {
    "denoising_gaussian_20": (gaussian, 0.2),
    "denoising_gaussian_50": (gaussian, 0.5),
    "denoising_salt_pepper_10": (salt_and_pepper, 0.1),
    "denoising_salt_pepper_30": (salt_and_pepper, 0.3),
}


def corrupted(x: Tensor, metric: str) -> Tensor:
    """``x`` with the noise of a metric.

    The noise is the same for every model and seed. The noise of an image does not depend on the number of images.
    """
    noise, strength = NOISES[metric]
    return noise(x, strength)


def psnr_gain(clean: Tensor, noisy: Tensor, reconstruction: Tensor) -> float:
    """PSNR of the reconstruction minus the PSNR of the corrupted image, in dB, averaged over images."""
    return psnr(clean, reconstruction, SMALLEST_ERROR) - psnr(clean, noisy, SMALLEST_ERROR)


def _drawn(draw: Callable[..., Tensor], x: Tensor, channels: int) -> Tensor:
    """Random numbers for each pixel of ``x`` (n, channels, height, width), with ``channels`` channels.

    They are drawn on the CPU, so they are the same on every machine and in every call.
    """
    generator = torch.Generator().manual_seed(NOISE_SEED)
    shape = (DRAWN, channels, *x.shape[2:])
    parts = [draw(shape, generator=generator, dtype=torch.float32)[: len(part)] for part in x.split(DRAWN)]
    return torch.cat(parts).to(x)
