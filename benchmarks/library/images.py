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
# The largest distance from [0, 1] that pixels of a decoder with a linear output may have. Floats further away are
# images on another scale, such as 0..255.
OVERSHOOT = 10
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
    array = as_batch(as_array(images, name), shape)
    if array.dtype.kind == "f" and array.size and array.min() >= 0 and array.max() <= 1:
        array = np.rint(array * 255).astype(np.uint8)
        found = torch.from_numpy(np.ascontiguousarray(channels_first(array, name)))
    elif array.dtype in (np.uint8, np.bool_) and not array.any():
        found = torch.from_numpy(np.ascontiguousarray(channels_first(array, name))).to(torch.uint8)
    else:
        found = as_images(array, name)
    return found if shape is None else of_shape(found, shape, name, array.shape)


def pixel_values(images: Array, shape: tuple[int, int, int] | None = None, name: str = "images") -> Tensor:
    """Convert images that a model may have returned to float32 (n, channels, height, width), on the CPU.

    Like :func:`image_bytes` / 255, but floats on the scale of [0, 1] are neither rounded nor clamped: a decoder with a
    linear output also returns pixels outside [0, 1], by at most ``OVERSHOOT``.
    """
    array = as_batch(as_array(images, name), shape)
    if array.dtype.kind != "f" or not array.size or not _is_unit(array):
        return image_bytes(array, shape, name).float() / 255
    found = torch.from_numpy(np.ascontiguousarray(channels_first(array, name), dtype=np.float32))
    return found if shape is None else of_shape(found, shape, name, array.shape)


def _is_unit(array: np.ndarray) -> bool:
    """Whether floats are on the scale of [0, 1]. Whole numbers of which some are above 1 are bytes."""
    low, high = array.min(), array.max()
    near = low >= -OVERSHOOT and high <= 1 + OVERSHOOT
    return bool(near and (high <= 1 or (array != np.rint(array)).any()))


def as_batch(array: np.ndarray, shape: tuple[int, int, int] | None) -> np.ndarray:
    """``array``, with a first dimension of size 1 if it is a single image of ``shape``, which may omit the channel
    dimension if it is grey."""
    single = shape is not None and array.shape in (shape, shape[1:] if shape[0] == 1 else shape)
    return array[None] if single else array


def of_shape(
    found: Tensor, shape: tuple[int, int, int], name: str = "images", given: tuple[int, ...] | None = None
) -> Tensor:
    """``found`` (n, channels, height, width).

    Raises :class:`UserError`, with the shape ``given`` by the user, if its images do not have ``shape``.
    """
    if tuple(found.shape[1:]) != shape:
        given = tuple(found.shape) if given is None else given
        raise UserError(f"{name} have shape {given}; the model takes (n, {str(shape)[1:]}: channels, height, width")
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
