"""Checks and conversions of a user's images and labels, from a file or a tensor.

Values and shapes with a clear meaning are converted. Others raise an error of one line that says how to correct them.
"""

from __future__ import annotations

import logging
import math

import numpy as np
import torch
from torch import Tensor

from benchmarks.errors import UserError

log = logging.getLogger(__name__)

# Images whose largest byte is below this most likely have grey levels of another range, such as 0..16.
DARK = 32
# Bytes per float -> the largest accepted distance of a float from a whole level of 255, in levels. Rounding moves
# float16 by 0.12.
ROUNDING = {2: 0.2, 4: 1e-3, 8: 1e-3}
TO_BYTES = '(images * 255).round().astype("uint8")'


def factor_of(brightest: int, name: str) -> int:
    """The factor to multiply bytes by if the largest is ``brightest``: 255 for masks of 0 and 1, else 1.

    The log names masks and very dark images. Raises :class:`UserError` if all pixels are 0.
    """
    if brightest == 1:
        log.warning("the pixels in %s are only 0 and 1: treated as masks and multiplied by 255", name)
        return 255
    check_brightness(brightest, name)
    return 1


def check_brightness(brightest: int, name: str) -> None:
    """Name very dark images in the log. Raises :class:`UserError` if all pixels are 0."""
    if brightest == 0:
        raise UserError(f"every pixel in {name} is 0")
    if brightest < DARK:
        log.warning("the images in %s are nearly black: no pixel is above %d of 255", name, brightest)


def as_images(array: np.ndarray, name: str) -> Tensor:
    """Convert an array of images to uint8 (n, channels, height, width).

    Values are bytes, booleans, other whole numbers in 0..255, or floats that are bytes / 255. Shapes are
    (n, height, width), (n, channels, height, width) or (n, height, width, channels) with 1 or 3 channels. Raises
    :class:`UserError` for anything else.
    """
    images = channels_first(array, name)
    pixels = _as_bytes(images, name)
    if images.dtype.kind in "iu":
        pixels = pixels * np.uint8(factor_of(int(pixels.max()), name))
    else:
        # The type of booleans and floats shows their range: a brightest byte of 1 is no mask.
        check_brightness(int(pixels.max()), name)
    return torch.from_numpy(np.ascontiguousarray(pixels))


def channels_first(array: np.ndarray, name: str) -> np.ndarray:
    """Images with a shape that :func:`as_images` accepts, as (n, channels, height, width).

    Raises :class:`UserError` for other shapes.
    """
    shape = array.shape
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4 and shape[1] in (1, 3) and shape[3] in (1, 3):
        raise UserError(f"{name} has shape {shape}, in which channels may be first or last: use wider images")
    elif array.ndim == 4 and shape[3] in (1, 3):
        array = array.transpose(0, 3, 1, 2)
    if array.ndim != 4 or array.shape[1] not in (1, 3) or 0 in array.shape:
        raise UserError(
            f"{name} has shape {shape}; images must be (n, height, width), (n, channels, height, width) or "
            f"(n, height, width, channels) with 1 or 3 channels{_mend_of_shape(shape)}"
        )
    return array


def _mend_of_shape(shape: tuple[int, ...]) -> str:
    if len(shape) == 4 and 4 in (shape[1], shape[3]):
        return "; blend a transparency channel with a background first"
    side = math.isqrt(shape[1]) if len(shape) == 2 else 0
    return f"; images.reshape(-1, {side}, {side}) makes squares of rows" if side > 1 and side**2 == shape[1] else ""


def _as_bytes(array: np.ndarray, name: str) -> np.ndarray:
    if array.dtype == bool:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype == np.uint8:
        return array
    kind = array.dtype.kind
    if kind not in "iuf" or array.dtype.itemsize not in (1, *ROUNDING):
        raise UserError(
            f"{name} holds {array.dtype} images; expected bytes 0..255 (uint8), booleans, or floats in [0, 1]"
        )
    if kind == "f" and not np.isfinite(array).all():
        raise UserError(f"{name} holds {int((~np.isfinite(array)).sum())} values that are NaN or infinite")
    low, high = array.min(), array.max()
    found = f"{name} holds {array.dtype} images with values from {low:.4g} to {high:.4g}"
    if low < 0 or high > 255:
        mend = '; ((images + 1) * 127.5).round().astype("uint8") takes [-1, 1] to bytes' if -1 <= low < 0 else ""
        raise UserError(f"{found}; expected bytes 0..255, or floats in [0, 1]{mend}")
    unit = kind == "f" and high <= 1
    levels = array.astype(np.float64) * 255 if unit else array
    whole = np.rint(levels)
    if kind == "f" and np.abs(levels - whole).max() > ROUNDING[array.dtype.itemsize]:
        mend = TO_BYTES if unit else 'images.round().astype("uint8")'
        raise UserError(f"{found}, which are not whole levels of 255; save {mend}, which rounds them")
    return whole.astype(np.uint8)


def as_labels(array: np.ndarray, count: int, name: str) -> Tensor:
    """Convert the labels of ``count`` images to int64.

    Labels are classes (n,), given as (n,), (n, 1) or one-hot rows, or attributes (n, attributes) in {0, 1}. Raises
    :class:`UserError` for anything else.
    """
    labels = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    whole = labels.dtype.kind in "iub" or (labels.dtype.kind == "f" and bool((labels == np.rint(labels)).all()))
    if not whole or labels.ndim not in (1, 2) or 0 in labels.shape or labels.min() < 0:
        mend = (
            "; (labels > 0).astype(int) takes -1 and 1 to 0 and 1"
            if whole and set(np.unique(labels)) == {-1, 1}
            else ""
        )
        raise UserError(
            f"labels of {name} must be whole numbers from 0, (n,) or (n, attributes); got {array.dtype} of shape "
            f"{array.shape}{mend}"
        )
    if len(labels) != count:
        raise UserError(f"{name} has {count} images and {len(labels)} labels")
    if labels.ndim == 1 and labels.max() >= count:
        raise UserError(
            f"labels of {name} go up to {labels.max()}, but there are {count} images; number the classes 0, 1, 2, ... "
            "(np.unique(labels, return_inverse=True)[1])"
        )
    if labels.ndim == 2 and labels.max() > 1:
        raise UserError(f"attributes of {name} go up to {labels.max()}; each must be 0 or 1, in a column of its own")
    if labels.ndim == 2 and (labels.sum(1) == 1).all():
        log.info("every image of %s has exactly one of %d attributes: they are read as classes", name, labels.shape[1])
        labels = labels.argmax(1)
    return torch.from_numpy(np.ascontiguousarray(labels).astype(np.int64))


def check_training_images(images: Tensor, labels: Tensor | None, shape: tuple[int, int, int]) -> None:
    """Check the images and labels that a variant is trained on.

    Raises :class:`UserError` unless ``images`` are uint8 (n, *shape) and not masks of 0 and 1, and ``labels``, if there
    are any, are int64 (n,) or (n, attributes).
    """
    if not isinstance(images, Tensor):
        raise UserError(f"training images are a {type(images).__name__}; expected a tensor: torch.from_numpy(images)")
    if images.dtype != torch.uint8:
        mend = (
            "images.to(torch.uint8) * 255" if images.dtype == torch.bool else "(images * 255).round().to(torch.uint8)"
        )
        raise UserError(f"training images are {images.dtype}; expected torch.uint8: {mend}")
    found = tuple(images.shape)
    if found[1:] != shape or not found[0]:
        mend = ""
        if found[1:] == shape[1:] and shape[0] == 1:
            mend = ": images.unsqueeze(1)"
        elif found[1:] == (*shape[1:], shape[0]):
            mend = ": images.permute(0, 3, 1, 2).contiguous()"
        raise UserError(f"training images have shape {found}; the variant was built for (n, {str(shape)[1:]}{mend}")
    if _are_masks(images):
        raise UserError("training images have only the bytes 0 and 1 of 255: use images * 255 for masks")
    if labels is None:
        return
    if labels.dtype != torch.int64:
        raise UserError(f"labels are {labels.dtype}; expected torch.int64: labels.long()")
    if len(labels) != len(images):
        raise UserError(f"there are {len(images)} training images and {len(labels)} labels")
    if labels.dim() == 2 and labels.shape[1] == 1:
        raise UserError(f"labels have shape {tuple(labels.shape)}; classes are (n,): labels.squeeze(1)")


def _are_masks(images: Tensor) -> bool:
    """Whether the images have only the bytes 0 and 1, and at least one 1.

    Images are read in parts up to the first byte above 1, so a memory map is read completely only if all pixels are
    dark.
    """
    found = False
    for part in images.split(4096):
        brightest = int(part.max())
        if brightest > 1:
            return False
        found = found or brightest == 1
    return found
