"""From bytes to what an observation model sees: binary pixels, or bytes / 255. Images are never flipped or cropped."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.data.dataset import DatasetConfig

# The one draw of every validation and test set that is binarised, whatever the cell's seed.
BINARISATION_SEED = 20160229


def observe_training(images: Tensor, config: DatasetConfig) -> Tensor:
    """A training batch (batch, channels, height, width), float32: bytes / 255, or a fresh Bernoulli draw of that."""
    pixels = images.float().div_(255)
    if config.binarise != "dynamic":
        return pixels
    # u < p for a uniform u: an eighth of torch.bernoulli's time on a CPU, where that was a sixth of a small step.
    return torch.rand_like(pixels).lt_(pixels)


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
    """Training images, uint8, as the loop is given them: binarised here where that is done once and for all."""
    if config.binarise in ("none", "dynamic"):
        return images
    return observe_evaluation(images, config).mul_(255).to(torch.uint8)
