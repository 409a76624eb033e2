"""Resizing of images, for networks that need another image size and for images beside those of another data set."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.data.dataset import Dataset

# Images resized at a time: their pixels are numbers of four bytes meanwhile.
_AT_ONCE = 10_000


def at_side(data: Dataset, side: int) -> Dataset:
    """The data set with images resized to ``side`` x ``side`` pixels. Its title says so."""
    if data.shape[1:] == (side, side):
        return data
    how = f"resized to {side}x{side}"
    return dataclasses.replace(
        data.with_images(lambda images: resized(images, (side, side)), how), title=f"{data.title}, {how}"
    )


def resized(images: Tensor, size: Sequence[int]) -> Tensor:
    """Images, uint8 (n, channels, height, width), resized to ``size`` (height, width) by antialiased bilinear
    interpolation and rounded to bytes, as Pillow does up to one unit."""
    if list(images.shape[2:]) == list(size):
        return images
    parts = []
    for part in images.split(_AT_ONCE):
        pixels = F.interpolate(part.float(), list(size), mode="bilinear", antialias=True)
        parts.append(pixels.round().clamp(0, 255).to(torch.uint8))
    return torch.cat(parts)
