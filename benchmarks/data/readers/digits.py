"""scikit-learn's digits: 1,797 real 8x8 images. They come with scikit-learn and need no download."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch

from benchmarks.data.dataset import Dataset, DatasetConfig, Split, splits_of

# Numbers of training, validation and test images.
SIZES = (1297, 200, 300)
_ORDER_SEED = 0


def load_digits(config: DatasetConfig, root: Path) -> Dataset:
    """Load the digits, with splits by one fixed permutation.

    The 17 grey levels 0..16 become bytes as round(255 level / 16).
    """
    # Imported here because scikit-learn takes a second to import, and every command imports this module.
    from sklearn.datasets import load_digits as sklearn_digits

    levels, labels = sklearn_digits(return_X_y=True)
    pixels = np.rint(levels * 255 / 16).astype(np.uint8)
    order = torch.from_numpy(np.random.RandomState(_ORDER_SEED).permutation(len(pixels)))
    images = torch.from_numpy(pixels).reshape(-1, 1, 8, 8)[order]
    targets = torch.from_numpy(labels.astype(np.int64))[order]
    digest = hashlib.sha256(images.numpy().tobytes() + targets.numpy().tobytes()).hexdigest()
    return splits_of(config, Split(images, targets), SIZES, digest, classes=10)
