"""From a configuration to a loaded data set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.data.dataset import Dataset, DatasetConfig
from benchmarks.data.padding import padded
from benchmarks.data.readers.array import load_array
from benchmarks.data.readers.celeba import load_celeba
from benchmarks.data.readers.digits import load_digits
from benchmarks.data.readers.folder import load_folder
from benchmarks.data.readers.idx_images import load_fashion_mnist, load_mnist
from benchmarks.errors import UserError
from variants.options import unknown

LOADERS: dict[str, Callable[[DatasetConfig, Path], Dataset]] = {
    "mnist": load_mnist,
    "fashion_mnist": load_fashion_mnist,
    "digits": load_digits,
    "celeba": load_celeba,
    "folder": load_folder,
    "array": load_array,
}


def load(config: DatasetConfig, root: Path) -> Dataset:
    """Load and verify a data set below ``root``. Raises ``UserError`` where it cannot be had."""
    if config.source not in LOADERS:
        raise UserError(unknown("dataset.source", config.source, LOADERS))
    data = LOADERS[config.source](config, root)
    return data if config.pad is None else padded(data, config.pad)
