"""What a conditional model is given beside an image."""

from __future__ import annotations

from collections.abc import Iterator

import torch.nn.functional as F
from torch import Tensor

from benchmarks.data.dataset import Dataset, DatasetConfig
from benchmarks.errors import UserError


def condition_shape(data: Dataset, config: DatasetConfig) -> tuple[int, ...] | None:
    """The shape of one image's condition; None where the data set is configured without one.

    Raises :class:`UserError` for a condition that the data do not have.
    """
    if config.condition == "none":
        return None
    labels = data.train.labels
    if labels is None or data.test.labels is None or labels.dim() != 1:
        raise UserError(
            f"dataset.condition={config.condition} needs one class label an image, and {data.name} has "
            f"{'no labels' if labels is None else 'several labels an image'}"
        )
    return (data.classes,)


def observe_condition(
    images: Tensor, labels: Tensor | None, config: DatasetConfig, shape: tuple[int, ...] | None
) -> Tensor | None:
    """The condition of ``images`` (batch, ...), float32, on their device: their class as a one-hot vector (batch,
    classes), by the first of the ``labels``. None where there is none."""
    if shape is None or config.condition == "none":
        return None
    assert labels is not None
    return F.one_hot(labels[: len(images)].to(images.device), shape[0]).float()


def batches(images: Tensor, condition: Tensor | None, size: int) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Consecutive parts of at most ``size`` images (n, ...), each with its part of the ``condition`` (n, ...)."""
    for start in range(0, len(images), size):
        yield images[start : start + size], None if condition is None else condition[start : start + size]
