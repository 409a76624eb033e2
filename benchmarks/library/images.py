"""Images and labels from users: tensors or NumPy arrays, bytes or floats."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.config import dataset_of
from benchmarks.data import data_root, load
from benchmarks.data.values import as_images, as_labels, channels_first
from benchmarks.errors import UserError
from benchmarks.library.checks import shown
from benchmarks.library.settings import own_settings
from variants.options import unknown

# The types that are accepted for images and labels. A tensor may be on any device.
Array = Tensor | np.ndarray
# The largest distance from [0, 1] that pixels of a decoder with a linear output may have. Floats further away are
# images on another scale, such as 0..255.
OVERSHOOT = 10
# The default limit of class numbers. Larger numbers are most likely not classes, and tables with an entry for each of
# them would not fit into memory. ImageNet-21k has 21,841 classes.
MOST_CLASSES = 25_000
SPLITS = ("train", "validation", "test")


@own_settings()
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
    elif array.dtype.kind in "iub" and not array.any():
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
        raise UserError(f"{name} have shape {given}; (n, {str(shape)[1:]} is needed: channels, height, width")
    return found


def training_labels(labels: Array, count: int, images: str = "images") -> Tensor:
    """Convert the labels of ``count`` training ``images`` to int64 on the CPU, like those of a data set from a file.

    Classes (n,) are given as (n,), (n, 1) or one-hot rows, or labels are attributes (n, attributes). Raises
    :class:`UserError` for other labels, and for classes that are not numbered below the number of images.
    """
    return as_labels(_label_array(labels, count, images), count, images)


def label_tensor(labels: Array, count: int, images: str = "images", classes: int = MOST_CLASSES) -> Tensor:
    """Like :func:`training_labels`, but classes may be numbered up to ``classes``, however few ``images`` there are."""
    array = _label_array(labels, count, images)
    if array.ndim == 2 and array.shape[1] > 1:
        return as_labels(array, count, images)
    array = array.reshape(-1)
    known = np.isin(array, np.arange(classes)) if array.dtype.kind in "iubf" else np.zeros(count, dtype=bool)
    if not known.all():
        wrong = array[~known].tolist()[0]
        raise UserError(f"labels of {images} must be whole numbers from 0 to {classes - 1}, got {shown(wrong)}")
    return torch.from_numpy(array.astype(np.int64))


def _label_array(labels: Array, count: int, images: str) -> np.ndarray:
    array = as_array(labels, f"labels of {images}")
    if array.ndim not in (1, 2) or len(array) != count or 0 in array.shape:
        raise UserError(f"labels of {images} have shape {array.shape}; ({count},) or ({count}, attributes) is needed")
    return array


def code_tensor(codes: Array, name: str = "codes") -> Tensor:
    """Convert one or more codes to a tensor (n, d) on the CPU.

    Raises :class:`UserError` for other shapes, and for values that are not numbers.
    """
    return torch.from_numpy(np.ascontiguousarray(number_array(codes, name, 2)))


def number_array(values: Array, name: str, dimensions: int) -> np.ndarray:
    """Convert numbers (n,) or (n, d) to a NumPy array. Raises :class:`UserError` for other shapes and values."""
    array = as_array(values, name)
    if array.ndim != dimensions or 0 in array.shape or array.dtype.kind not in "iuf":
        form = "(n,)" if dimensions == 1 else "(n, d)"
        raise UserError(f"{name} are {array.dtype} of shape {array.shape}; numbers {form} are needed, with n above 0")
    # Torch takes neither other byte orders nor longer floats.
    longer = array.dtype.kind == "f" and array.itemsize > 8
    return array.astype(np.float64 if longer else array.dtype.newbyteorder("="), copy=False)


def as_array(values: Any, name: str) -> np.ndarray:
    """Convert a dense tensor or a NumPy array to a NumPy array. Raises :class:`UserError` for other types."""
    if isinstance(values, Tensor):
        if values.layout != torch.strided:
            raise UserError(f"{name} are a sparse tensor; a dense one is needed: .to_dense()")
        if values.is_meta:
            raise UserError(f"{name} are a tensor on the device 'meta', which has no values")
        values = values.detach().cpu()
        # NumPy has no bfloat16.
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    if not isinstance(values, np.ndarray):
        raise UserError(f"{name} are a {type(values).__name__}; a tensor or a NumPy array is needed")
    return values
