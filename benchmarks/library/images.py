"""Images and labels from users: tensors or NumPy arrays, bytes or floats."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.config import dataset_of
from benchmarks.data import data_root, load
from benchmarks.data.values import as_images, channels_first
from benchmarks.errors import UserError
from variants.options import unknown

# The types that are accepted for images and labels. A tensor may be on any device.
Array = Tensor | np.ndarray
SPLITS = ("train", "validation", "test")


def load_images(dataset: str = "mnist", split: str = "train") -> tuple[Tensor, Tensor | None]:
    """Load the images and labels of a data set by its name.

    Images are bytes (n, channels, height, width). Labels are (n,) or (n, attributes), None if there are none. ``split``
    is "train", "validation" or "test". Files are downloaded, if the data set allows it, and verified. Raises
    :class:`UserError` if they cannot be obtained.

    Example:
        >>> pixels, classes = load_images("digits", "test")
        >>> pixels.shape, classes.shape
        (torch.Size([300, 1, 8, 8]), torch.Size([300]))
    """
    if split not in SPLITS:
        raise UserError(unknown("split", split, SPLITS))
    found = getattr(load(dataset_of(dataset), data_root()), split)
    return found.images, found.labels


def image_bytes(images: Array, shape: tuple[int, int, int] | None = None, name: str = "images") -> Tensor:
    """Convert images to bytes, uint8 (n, channels, height, width), on the CPU.

    Values may be bytes, booleans, or floats in [0, 1], which are rounded to 8 bits like all images of the suite. Shapes
    may be (n, height, width), (n, channels, height, width) or (n, height, width, channels) with 1 or 3 channels. If the
    ``shape`` of an image is given, a single image is accepted, too. Raises :class:`UserError` for other values and
    shapes.
    """
    array = as_array(images, name)
    # A single image. If it is grey, it may have no channel dimension.
    if shape is not None and array.shape in (shape, shape[1:] if shape[0] == 1 else shape):
        array = array[None]
    if array.dtype.kind == "f" and array.size and array.min() >= 0 and array.max() <= 1:
        array = np.rint(array * 255).astype(np.uint8)
        found = torch.from_numpy(np.ascontiguousarray(channels_first(array, name)))
    elif array.dtype == np.uint8 and not array.any():
        found = torch.from_numpy(np.ascontiguousarray(channels_first(array, name)))
    else:
        found = as_images(array, name)
    if shape is not None and tuple(found.shape[1:]) != shape:
        raise UserError(
            f"{name} have shape {tuple(array.shape)}; the model takes (n, {str(shape)[1:]}: channels, height, width"
        )
    return found


def label_tensor(labels: Array, count: int, name: str = "labels") -> Tensor:
    """Convert the labels of ``count`` images to int64 on the CPU: classes (n,) or attributes (n, attributes).

    Raises :class:`UserError` for another number of labels, and for labels that are not whole numbers from 0.
    """
    array = as_array(labels, name)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim not in (1, 2) or len(array) != count:
        raise UserError(f"{name} have shape {array.shape}; {count} images need ({count},) or ({count}, attributes)")
    if array.dtype.kind not in "iub" and not (array.dtype.kind == "f" and (array == np.rint(array)).all()):
        raise UserError(f"{name} are {array.dtype}; whole numbers from 0 are needed")
    if array.size and array.min() < 0:
        raise UserError(f"{name} reach down to {array.min()}; whole numbers from 0 are needed")
    return torch.from_numpy(np.ascontiguousarray(array).astype(np.int64))


def as_array(values: Any, name: str) -> np.ndarray:
    """Convert a tensor or NumPy array to a NumPy array. Raises :class:`UserError` for other types."""
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        # NumPy has no bfloat16.
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    if not isinstance(values, np.ndarray):
        raise UserError(f"{name} are a {type(values).__name__}; a tensor or a NumPy array is needed")
    return values
