"""Outliers: images of another data set, or of classes that are left out of training."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from benchmarks.data.dataset import Dataset, Split
from benchmarks.data.resizing import resized
from benchmarks.errors import UserError

# Weights of red, green and blue in a grey level (ITU-R BT.601), as in Pillow's conversion.
LUMA = (0.299, 0.587, 0.114)


def leave_out(data: Dataset, left_out: int) -> Dataset:
    """``data`` without the images of one class in all splits; the test images of the class become its ``left_out``.

    The digest changes, so that nothing made from all classes (features, a classifier as judge or teacher) is used for
    the new data set. Raises :class:`UserError` if there is no such class, or if nothing is left.
    """
    return _without(data, f"dataset.left_out={left_out}", [left_out], [left_out], f"without class {left_out}")


def keep_only(data: Dataset, normal: Sequence[int]) -> Dataset:
    """``data`` with only the images of the classes ``normal``. All others are left out as by :func:`leave_out`."""
    others = sorted(set(range(data.classes)) - set(normal))
    which = f"class {normal[0]} only" if len(normal) == 1 else f"classes {', '.join(map(str, normal))} only"
    return _without(data, f"dataset.normal_classes=[{','.join(map(str, normal))}]", normal, others, which)


def _without(data: Dataset, option: str, named: Sequence[int], left_out: Sequence[int], which: str) -> Dataset:
    """``data`` without the classes ``left_out``.

    ``option`` is the user's option, for error messages. ``named`` are the classes in it, which must have training and
    test images. ``which`` is added to the title.
    """
    labels = data.train.labels
    if labels is None or data.test.labels is None or labels.dim() != 1:
        raise UserError(
            f"{option} needs one class label per image, but {data.name} has "
            f"{'no labels' if labels is None else 'several labels per image'}"
        )
    if max(named) >= data.classes:
        raise UserError(f"{option} is not a class of {data.name}: its classes are 0 to {data.classes - 1}")
    parts = {"training": data.train, "validation": data.validation, "test": data.test}
    for name in ("training", "test"):
        for of in named:
            if not len(_part(parts[name], [of], inside=True)):
                raise UserError(f"{option}: {data.name} has no {name} images of that class")
    kept = {name: _part(split, left_out, inside=False) for name, split in parts.items()}
    for name, split in kept.items():
        if not len(split):
            raise UserError(f"{option} leaves {data.name} without {name} images")
    outliers = _part(data.test, left_out, inside=True)
    if not len(outliers):
        raise UserError(f"{option} leaves out nothing of {data.name}: every test image is of a normal class")
    return dataclasses.replace(
        data,
        title=f"{data.title}, {which}",
        sha256=hashlib.sha256(f"{data.sha256} {which}".encode()).hexdigest(),
        train=kept["training"],
        validation=kept["validation"],
        test=kept["test"],
        left_out=outliers,
    )


def _part(split: Split, classes: Sequence[int], inside: bool) -> Split:
    """The images of a split whose class is one of ``classes``, or is not if ``inside`` is false."""
    assert split.labels is not None
    return split.of(torch.isin(split.labels, torch.tensor(classes, dtype=split.labels.dtype)) == inside)


def in_shape(images: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Convert images, uint8 (n, channels, height, width), to the shape of those of another data set, (n, *shape).

    They are resized by antialiased bilinear interpolation. Grey images are repeated for three channels, and colours are
    converted to grey.
    """
    channels, *size = shape
    if images.shape[1] == 3 and channels == 1:
        weights = torch.tensor(LUMA).view(3, 1, 1)
        images = (images.float() * weights).sum(1, keepdim=True).round().to(torch.uint8)
    return resized(images, size).expand(-1, channels, -1, -1)
