"""Zeros around images, for networks that want another side: 28x28 pixels become 32x32."""

from __future__ import annotations

import dataclasses
import hashlib

import torch.nn.functional as F
from torch import Tensor

from benchmarks.data.dataset import Dataset, Split
from benchmarks.errors import UserError


def padded(data: Dataset, side: int) -> Dataset:
    """The data set with zeros around its images, which are then ``side`` pixels high and wide; where a difference is
    odd, right and bottom have one more. Raises :class:`UserError` for images that are larger."""
    _, height, width = data.shape
    if max(height, width) > side:
        raise UserError(f"dataset.pad={side} is smaller than the images of {data.name}, {height}x{width}")
    top, left = (side - height) // 2, (side - width) // 2
    edges = (left, side - width - left, top, side - height - top)
    train, validation, test = (
        Split(F.pad(split.images, edges), split.labels) for split in (data.train, data.validation, data.test)
    )
    digest = hashlib.sha256(f"{data.sha256} with zeros up to {side}x{side}".encode()).hexdigest()
    return dataclasses.replace(data, train=train, validation=validation, test=test, sha256=digest, unpadded=data)


def cropped(images: Tensor, height: int, width: int) -> Tensor:
    """The middle of ``images`` (n, channels, ..., ...): what :func:`padded` put zeros around."""
    top, left = (images.shape[-2] - height) // 2, (images.shape[-1] - width) // 2
    return images[..., top : top + height, left : left + width]
