"""Preprocessing of bytes to binary pixels or to bytes / 255. Images are never flipped or cropped."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.data.dataset import DatasetConfig

# The seed of the single binarisation of validation and test images. It does not depend on the run's seed.
BINARISATION_SEED = 20160229


def observe_training(images: Tensor, config: DatasetConfig) -> Tensor:
    """A training batch as models see it, float32 (batch, channels, height, width).

    The pixels are bytes / 255, thresholded bytes, or a new Bernoulli draw, as ``config.binarise`` says.
    """
    if config.binarise == "threshold":
        return (images >= 128).float()
    if config.binarise != "dynamic":
        return images.float().div_(255)
    # A pixel is 1 if u < p, where p is rounded to the nearest of 2^16 steps (bytes 0 and 255 stay certain). Every
    # 64-bit draw gives four values of u. On a CPU, where torch.bernoulli took a sixth of a small training step, one
    # uniform float per pixel took 0.25 ms per batch, and this takes 0.12 ms.
    draws = torch.empty(-(-images.numel() // 4), dtype=torch.int64, device=images.device).random_(-(2**63), None)
    uniforms = draws.view(torch.int16)[: images.numel()].view(images.shape)
    return uniforms.float().lt_(images.float().mul_(2**16 / 255).sub_(2**15 + 0.5))


def observe_evaluation(images: Tensor, config: DatasetConfig, count: int | None = None) -> Tensor:
    """The first ``count`` images of a split (None: all) as models see them, float32.

    Pixels are drawn on the CPU from a fixed seed, so an image looks the same on every machine, in every call and for
    every ``count``.
    """
    if config.binarise == "none":
        return images[:count].float().div_(255)
    if config.binarise == "threshold":
        return (images[:count] >= 128).float()
    generator = torch.Generator().manual_seed(BINARISATION_SEED)
    return torch.bernoulli(images.float().div_(255), generator=generator)[:count]


def training_images(images: Tensor, config: DatasetConfig) -> Tensor:
    """Training images, uint8, as the training loop receives them.

    With ``binarise`` "fixed" they are drawn here, once. A threshold is not a draw; it is applied to every batch
    instead, so that images on a memory map stay there.
    """
    if config.binarise != "fixed":
        return images
    return observe_evaluation(images, config).mul_(255).to(torch.uint8)
