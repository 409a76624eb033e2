"""Conditions of conditional models: the class of an image, or a part of its pixels."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.data.dataset import Dataset, DatasetConfig
from benchmarks.errors import UserError

# The value that replaces given pixels in pictures: white.
HIDDEN = 1.0


def shows_pixels(condition: str) -> bool:
    """Whether ``condition``, a value of ``dataset.condition``, gives a part of the image's pixels."""
    return condition.startswith("quadrants-")


def condition_shape(data: Dataset, config: DatasetConfig) -> tuple[int, ...] | None:
    """The shape of one image's condition; None if the configuration has no condition.

    Raises :class:`UserError` for a condition that the data do not have.
    """
    if config.condition == "none":
        return None
    channels, height, width = data.shape
    if shows_pixels(config.condition):
        if height % 2 or width % 2:
            raise UserError(
                f"dataset.condition={config.condition} needs images with even sides, but {data.name} has "
                f"{height}x{width}"
            )
        return channels + 1, height, width
    labels = data.train.labels
    if labels is None or data.test.labels is None or labels.dim() != 1:
        raise UserError(
            f"dataset.condition={config.condition} needs one class label per image, but {data.name} has "
            f"{'no labels' if labels is None else 'several labels per image'}"
        )
    return (data.classes,)


def observe_condition(
    x: Tensor, labels: Tensor | None, config: DatasetConfig, shape: tuple[int, ...] | None
) -> Tensor | None:
    """The condition of images ``x`` (batch, channels, height, width), float32 on their device; None if there is none.

    ``x`` are the images as their model observes them; their labels are the first of ``labels``. A class becomes a
    one-hot vector (batch, classes). Quadrants become (batch, channels + 1, height, width): the pixels, 0 where they are
    not given, followed by a mask that is 1 where they are given.
    """
    if shape is None or config.condition == "none":
        return None
    if shows_pixels(config.condition):
        mask = given_mask(config.condition, x.shape[-2], x.shape[-1], x.device).expand(len(x), 1, -1, -1)
        return torch.cat([x * mask, mask], dim=1)
    assert labels is not None
    return F.one_hot(labels[: len(x)].to(x.device), shape[0]).float()


def given_mask(condition: str, height: int, width: int, device: torch.device) -> Tensor:
    """A mask (1, height, width) that is 1 where pixels are given.

    "quadrants-1" gives the bottom left quadrant, "quadrants-2" the left half, "quadrants-3" all but the bottom right
    quadrant.
    """
    top, left = slice(0, height // 2), slice(0, width // 2)
    mask = torch.zeros(1, height, width, device=device)
    mask[:, height // 2 :, left] = 1
    if condition in ("quadrants-2", "quadrants-3"):
        mask[:, top, left] = 1
    if condition == "quadrants-3":
        mask[:, top, width // 2 :] = 1
    return mask


def missing(x: Tensor, condition: Tensor | None) -> Tensor:
    """Mask of the pixels that the condition does not show, bool (n, 1, height, width).

    ``x`` are images (n, channels, height, width). If the condition has no mask, all pixels are missing.
    """
    if condition is None or condition.shape[1:] != (x.shape[1] + 1, *x.shape[2:]):
        return torch.ones_like(x[:, :1], dtype=torch.bool)
    return condition[:, -1:] < 0.5


def scored(x: Tensor, condition: Tensor | None) -> int:
    """The number of pixel channels of an image that a likelihood covers: those that the condition does not show.

    It is the same for all images ``x`` (n, channels, height, width).
    """
    given = None if condition is None else condition[:1]
    return int(missing(x[:1], given).sum()) * x.shape[1]


def hide_given(images: Tensor, condition: Tensor | None) -> Tensor:
    """Images (n, channels, height, width) with the pixels that their ``condition`` shows painted over."""
    return torch.where(missing(images, condition), images, torch.full_like(images, HIDDEN))


def batches(images: Tensor, condition: Tensor | None, size: int) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Consecutive parts of at most ``size`` images (n, ...), each with its part of the ``condition`` (n, ...)."""
    for start in range(0, len(images), size):
        yield images[start : start + size], None if condition is None else condition[start : start + size]
