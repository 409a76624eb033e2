"""An array file (.npz, .npy or IDX) as a data set, by configuration alone."""

from __future__ import annotations

import gzip
import hashlib
import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch

from benchmarks.data.dataset import Dataset, DatasetConfig, shares, splits_of
from benchmarks.data.readers.idx import parse_idx
from benchmarks.errors import UserError
from variants.options import unknown

# What an .npz names its images and its labels, unless dataset.labels says otherwise.
IMAGES, LABELS = "images", "labels"


def load_array(config: DatasetConfig, root: Path) -> Dataset:
    """The images in ``config.path``, shuffled once by a fixed seed and split by shares.

    Images are bytes or booleans: (n, height, width), (n, channels, height, width) or (n, height, width, channels) with
    1 or 3 channels. An ``.npz`` holds them as ``images``, or as its only array. Labels are whole numbers (n,), or
    (n, attributes). Raises :class:`UserError` for anything else.
    """
    path = root / Path(config.path or "").expanduser()
    contents = _read(path)
    array, named_labels = _images_of(contents, path), set(contents) - {IMAGES}
    images = _as_images(array, path)
    labels = None
    if config.labels is not None and config.labels in named_labels:
        labels = contents[config.labels]
    elif config.labels is not None and path.suffix == ".npz":
        raise UserError(unknown(f"array in {path}", config.labels, contents))
    elif config.labels is not None:
        (labels,) = _read(root / Path(config.labels).expanduser()).values()
    elif LABELS in named_labels:
        labels = contents[LABELS]
    targets = None if labels is None else _as_labels(labels, len(images), path)
    order, sizes = shares(len(images), config)
    images, targets = images[order], None if targets is None else targets[order]
    digest = hashlib.sha256(images.numpy().tobytes() + (b"" if targets is None else targets.numpy().tobytes()))
    digest.update(repr(sizes).encode())
    classes = 0 if targets is None else int(targets.max()) + 1 if targets.dim() == 1 else targets.shape[1]
    return splits_of(config, images, targets, sizes, digest.hexdigest(), classes)


def _read(path: Path) -> dict[str, np.ndarray]:
    """The arrays in a file by name; the only one of an ``.npy`` or IDX file is called "images"."""
    if not path.is_file():
        raise UserError(f"{path} is not there")
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        if path.suffix == ".npy":
            return {IMAGES: np.load(path, allow_pickle=False)}
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        return {IMAGES: parse_idx(data, str(path)).numpy()}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path} cannot be read: {error}") from error


def _images_of(contents: dict[str, np.ndarray], path: Path) -> np.ndarray:
    if IMAGES in contents:
        return contents[IMAGES]
    if len(contents) == 1:
        return next(iter(contents.values()))
    raise UserError(unknown(f"array in {path}", IMAGES, contents))


def _as_images(array: np.ndarray, path: Path) -> torch.Tensor:
    if array.dtype == bool:
        array = array.astype(np.uint8) * 255
    if array.dtype != np.uint8:
        raise UserError(f"{path} holds {array.dtype} images; whole bytes 0..255 (uint8) or booleans are needed")
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4 and array.shape[1] not in (1, 3) and array.shape[3] in (1, 3):
        array = array.transpose(0, 3, 1, 2)
    if array.ndim != 4 or array.shape[1] not in (1, 3) or 0 in array.shape:
        raise UserError(
            f"{path} has shape {array.shape}; images are (n, height, width), (n, channels, height, width) or "
            "(n, height, width, channels) with 1 or 3 channels"
        )
    return torch.from_numpy(np.ascontiguousarray(array))


def _as_labels(array: np.ndarray, count: int, path: Path) -> torch.Tensor:
    if not np.issubdtype(array.dtype, np.integer) or array.ndim not in (1, 2) or (array.size and array.min() < 0):
        raise UserError(f"labels of {path} must be whole numbers from 0, (n,) or (n, attributes)")
    if len(array) != count:
        raise UserError(f"{path} has {count} images and {len(array)} labels")
    return torch.from_numpy(array.astype(np.int64))
