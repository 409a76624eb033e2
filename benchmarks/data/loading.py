"""From a configuration to a loaded data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.data.dataset import Dataset, DatasetConfig, Split
from benchmarks.data.digits import load_digits
from benchmarks.data.idx_images import load_fashion_mnist, load_mnist
from variants.options import unknown

LOADERS: dict[str, Callable[[DatasetConfig, Path], Dataset]] = {
    "mnist": load_mnist,
    "fashion_mnist": load_fashion_mnist,
    "digits": load_digits,
}


def load(config: DatasetConfig, root: Path) -> Dataset:
    """Load and verify a data set below ``root``. Raises ``UserError`` where it cannot be had."""
    if config.source not in LOADERS:
        raise unknown("dataset.source", config.source, LOADERS)
    data = LOADERS[config.source](config, root)
    if config.train_on_validation:
        data = replace(data, train=_joined(data.train, data.validation))
    return data


def _joined(first: Split, second: Split) -> Split:
    images = torch.cat([first.images, second.images])
    if first.labels is None or second.labels is None:
        return Split(images, None)
    return Split(images, torch.cat([first.labels, second.labels]))
