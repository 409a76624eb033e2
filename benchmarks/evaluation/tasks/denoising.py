"""Corrupted images, and how much nearer to the clean ones their reconstructions are. All take images (n, channels,
height, width) in [0, 1]."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.evaluation.reconstruction import psnr

# Of the noise, whatever the run's seed.
NOISE_SEED = 0
# The noise of so many images is drawn at once, always, so that an image's does not depend on how many there are.
DRAWN = 100
# Half a grey level, which 8-bit images cannot show. Weak noise leaves some small images as they are, with an infinite
# PSNR: they count as if they had this error.
SMALLEST_ERROR = (0.5 / 255) ** 2


def gaussian(x: Tensor, std: float) -> Tensor:
    """``x`` with normal noise of standard deviation ``std`` in each channel by itself, clipped to [0, 1]."""
    return (x + std * _drawn(torch.randn, x, x.shape[1])).clamp(0, 1)


def salt_and_pepper(x: Tensor, share: float) -> Tensor:
    """``x`` where each pixel, all its channels alike, is with probability ``share`` black or white, with equal
    chance."""
    u = _drawn(torch.rand, x, 1)
    return x.masked_fill(u < share, 1).masked_fill(u < share / 2, 0)


# Metric -> what corrupts the images, and how strongly.
NOISES = {
    "denoising_gaussian_20": (gaussian, 0.2),
    "denoising_gaussian_50": (gaussian, 0.5),
    "denoising_salt_pepper_10": (salt_and_pepper, 0.1),
    "denoising_salt_pepper_30": (salt_and_pepper, 0.3),
}


def corrupted(x: Tensor, metric: str) -> Tensor:
    """``x`` with the noise of a metric: the same for every model and seed, and an image's for every number of
    images."""
    noise, strength = NOISES[metric]
    return noise(x, strength)


def psnr_gain(clean: Tensor, noisy: Tensor, reconstruction: Tensor) -> float:
    """By how many dB the PSNR of the reconstruction exceeds that of the corrupted image, averaged over images."""
    return psnr(clean, reconstruction, SMALLEST_ERROR) - psnr(clean, noisy, SMALLEST_ERROR)


def _drawn(draw: Callable[..., Tensor], x: Tensor, channels: int) -> Tensor:
    """Numbers for each pixel of ``x`` (n, channels, height, width), drawn on the CPU: the same on every machine and at
    every call."""
    generator = torch.Generator().manual_seed(NOISE_SEED)
    shape = (DRAWN, channels, *x.shape[2:])
    parts = [draw(shape, generator=generator)[: len(part)] for part in x.split(DRAWN)]
    return torch.cat(parts).to(x)
