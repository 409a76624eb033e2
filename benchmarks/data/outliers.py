"""Images that a model is not trained for: those of another data set, or of a class that is left out of training."""

from __future__ import annotations

import dataclasses
import hashlib

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.data.dataset import Dataset, Split
from benchmarks.errors import UserError

# Of red, green and blue in a grey level (ITU-R BT.601), as in Pillow's conversion.
LUMA = (0.299, 0.587, 0.114)


def leave_out(data: Dataset, left_out: int) -> Dataset:
    """``data`` without the images of one class in all splits; its test images are kept apart, as ``left_out``.

    The digest is another one, so that nothing made from all classes (features, a classifier as judge or teacher) is
    used for it. Raises :class:`UserError` where there is no such class, or nothing is left.
    """
    option = f"dataset.left_out={left_out}"
    labels = data.train.labels
    if labels is None or data.test.labels is None or labels.dim() != 1:
        raise UserError(
            f"{option} needs one class label per image, but {data.name} has "
            f"{'no labels' if labels is None else 'several labels per image'}"
        )
    if left_out >= data.classes:
        raise UserError(f"{option} is not a class of {data.name}: its classes are 0 to {data.classes - 1}")
    parts = {"training": data.train, "validation": data.validation, "test": data.test}
    of_class = {name: _part(split, left_out, inside=True) for name, split in parts.items()}
    kept = {name: _part(split, left_out, inside=False) for name, split in parts.items()}
    for name, split in parts.items():
        if name != "validation" and not len(of_class[name]):
            raise UserError(f"{option}: {data.name} has no {name} images of that class")
        if len(of_class[name]) == len(split):
            raise UserError(f"{option} leaves {data.name} without {name} images")
    return dataclasses.replace(
        data,
        title=f"{data.title}, without class {left_out}",
        sha256=hashlib.sha256(f"{data.sha256} without class {left_out}".encode()).hexdigest(),
        train=kept["training"],
        validation=kept["validation"],
        test=kept["test"],
        left_out=of_class["test"],
    )


def _part(split: Split, name: int, inside: bool) -> Split:
    """The images of a split that are of one class, or not of it."""
    assert split.labels is not None
    rows = (split.labels == name) == inside
    return split.of(rows)


def in_shape(images: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Images, uint8 (n, channels, height, width), as those of another data set (n, *shape): resized by antialiased
    bilinear interpolation, grey ones repeated for three channels, and colours turned to grey."""
    channels, *size = shape
    if images.shape[1] == 3 and channels == 1:
        weights = torch.tensor(LUMA).view(3, 1, 1)
        images = (images.float() * weights).sum(1, keepdim=True).round().to(torch.uint8)
    if list(images.shape[2:]) != size:
        resized = F.interpolate(images.float(), size, mode="bilinear", antialias=True)
        images = resized.round().clamp(0, 255).to(torch.uint8)
    return images.expand(-1, channels, -1, -1)
