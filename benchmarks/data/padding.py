"""Zero padding of images, for networks that need another image size: 28x28 pixels become 32x32."""

from __future__ import annotations

import dataclasses

import torch.nn.functional as F
from torch import Tensor

from benchmarks.data.dataset import Dataset
from benchmarks.errors import UserError


def padded(data: Dataset, side: int) -> Dataset:
    """The data set with zero-padded images. Raises :class:`UserError` if the images are larger than ``side``."""
    _, height, width = data.shape
    if max(height, width) > side:
        raise UserError(f"dataset.pad={side} is smaller than the images of {data.name}, {height}x{width}")
    larger = data.with_images(lambda images: with_zeros(images, side), f"with zeros up to {side}x{side}")
    return dataclasses.replace(larger, unpadded=data)


def with_zeros(images: Tensor, side: int) -> Tensor:
    """Pad ``images`` (n, channels, height, width) with zeros on all sides to (n, channels, side, side).

    If a difference is odd, the right or bottom gets one pixel more.
    """
    height, width = images.shape[-2:]
    top, left = (side - height) // 2, (side - width) // 2
    return F.pad(images, (left, side - width - left, top, side - height - top))


def cropped(images: Tensor, height: int, width: int) -> Tensor:
    """The centre of ``images`` (n, channels, ..., ...), without the zeros that :func:`with_zeros` added."""
    top, left = (images.shape[-2] - height) // 2, (images.shape[-1] - width) // 2
    return images[..., top : top + height, left : left + width]
