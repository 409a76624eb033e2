"""From bytes to what an observation model sees: binary pixels, or bytes / 255. Images are never flipped or cropped."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.data.dataset import DatasetConfig

# The one draw of every validation and test set that is binarised, whatever the cell's seed.
BINARISATION_SEED = 20160229


def observe_training(images: Tensor, config: DatasetConfig) -> Tensor:
    """A training batch (batch, channels, height, width), float32: bytes / 255, their threshold, or a fresh Bernoulli
    draw of them."""
    if config.binarise == "threshold":
        return (images >= 128).float()
    if config.binarise != "dynamic":
        return images.float().div_(255)
    # u < p, with p to the nearest of 2^16 steps (0 and 255 stay certain) and four u from every 64-bit draw. On a CPU,
    # where torch.bernoulli took a sixth of a small step, a uniform float a pixel took 0.25 ms a batch and this 0.12.
    draws = torch.empty(-(-images.numel() // 4), dtype=torch.int64, device=images.device).random_(-(2**63), None)
    uniforms = draws.view(torch.int16)[: images.numel()].view(images.shape)
    return uniforms.float().lt_(images.float().mul_(2**16 / 255).sub_(2**15 + 0.5))


def observe_evaluation(images: Tensor, config: DatasetConfig, count: int | None = None) -> Tensor:
    """The first ``count`` images of a split (None: all), float32, drawn on the CPU: an image looks the same on every
    machine, at every call and for every count."""
    if config.binarise == "none":
        return images[:count].float().div_(255)
    if config.binarise == "threshold":
        return (images[:count] >= 128).float()
    generator = torch.Generator().manual_seed(BINARISATION_SEED)
    return torch.bernoulli(images.float().div_(255), generator=generator)[:count]


def training_images(images: Tensor, config: DatasetConfig) -> Tensor:
    """Training images, uint8, as the loop is given them: drawn here where that is done once and for all. A threshold is
    no draw and is taken of every batch, so that images on a memory map stay there."""
    if config.binarise != "fixed":
        return images
    return observe_evaluation(images, config).mul_(255).to(torch.uint8)
