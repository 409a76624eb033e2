"""Shapes: binary images of one shape each, drawn from a formula, with every combination of five factors once.

The images are similar to those of dSprites (Matthey et al. 2017), but they are not dSprites: results that were
published for dSprites do not hold for them. The user's own file of dSprites can be loaded instead.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import logging
import math
from functools import cache
from pathlib import Path

import numpy as np
import torch

from benchmarks.data.dataset import SHAPES_SIDES, Dataset, DatasetConfig, Factor, Split, shares, splits_of
from benchmarks.data.readers.array import names_in, read_array
from benchmarks.data.readers.image_files import decoded_array
from benchmarks.data.sources import cache_root
from benchmarks.errors import UserError
from benchmarks.files import write_atomically
from benchmarks.progress.report import doing

log = logging.getLogger(__name__)

SHAPES = ("square", "ellipse", "heart")
# Radii of the circle around a shape, in pixels of a 32x32 image.
RADII = (5, 6, 7, 8, 9)
# The number of orientations. It is odd because a square looks the same after a quarter turn and an ellipse after a half
# turn: neither is a whole number of steps, so no two images are equal.
TURNS = 15
# The number of positions along either axis, one pixel of a 32x32 image apart.
POSITIONS = 14
SIZES = (len(SHAPES), len(RADII), TURNS, POSITIONS, POSITIONS)
COUNT = math.prod(SIZES)
FACTORS = (
    Factor("shape", SHAPES),
    Factor("scale", tuple(radius / RADII[-1] for radius in RADII)),
    Factor("orientation", tuple(2 * math.pi * turn / TURNS for turn in range(TURNS))),
    Factor("x", tuple(step / (POSITIONS - 1) for step in range(POSITIONS))),
    Factor("y", tuple(step / (POSITIONS - 1) for step in range(POSITIONS))),
)
# Side -> SHA-256 of all images, one after the other, as bits.
SHA256 = {
    32: "36b5c58f908ead116b87a423fca31b0bd454513601ad17a408f57cff22d1e2ee",
    64: "92a44ba41a48327710109c24516712c192eeef9ee5e30f67eacb0bb8b9c06715",
}
# Sines and cosines are integers in units of 1 / UNIT. All arithmetic is exact integer arithmetic, so the images do not
# depend on how a processor rounds.
UNIT = 4096
# Lengths are integers in units of 1 / PARTS of a pixel.
PARTS = 8
# Offset of a shape's centre to the right and down from the middle of its window, in units of 1 / PARTS of a pixel of a
# 32x32 image. Without it, small squares with different orientations would cover the same pixels.
SHIFT = (1, 2)
# The arrays in the file of dSprites, and its factors. The first factor, colour, has a single value.
IMAGES, CLASSES, VALUES = "imgs", "latents_classes", "latents_values"
DSPRITES_FACTORS = ("colour", "shape", "scale", "orientation", "x", "y")


def load_shapes(config: DatasetConfig, root: Path) -> Dataset:
    """All :data:`COUNT` images of :data:`FACTORS`, or dSprites from the file ``config.path``.

    They are shuffled once with a fixed seed and split by shares. The class of an image is its shape. The suite's own
    images are drawn in a second or two, and cached as bits.
    """
    side = config.image_size
    assert side is not None
    if config.path is not None:
        return _dsprites(config, root / Path(config.path).expanduser(), side)
    order, sizes = shares(COUNT, config)
    images = np.unpackbits(_bits(side)[order.numpy()], axis=1).reshape(-1, 1, side, side)
    images *= 255
    factors = factors_of_images()[order]
    digest = hashlib.sha256(f"{SHA256[side]} {sizes}".encode()).hexdigest()
    split = Split(torch.from_numpy(images), factors[:, 0].contiguous(), factors)
    return _titled(splits_of(config, split, sizes, digest, len(SHAPES), FACTORS), config.title, side)


def factors_of_images() -> torch.Tensor:
    """The index of each image's value of each factor, int64 (:data:`COUNT`, 5).

    The vertical position changes fastest, the shape slowest.
    """
    return torch.from_numpy(np.indices(SIZES).reshape(len(SIZES), -1).T.copy())


def draw(side: int) -> np.ndarray:
    """All images of ``side`` pixels per side, uint8 (:data:`COUNT`, side * side / 8): one bit per pixel, row by row."""
    scale = side // SHAPES_SIDES[0]
    window = side - scale * (POSITIONS - 1)
    drawn = []
    for shape, radius, turn in itertools.product(SHAPES, RADII, range(TURNS)):
        inside = _inside(shape, radius, turn, window, scale)
        images = np.zeros((POSITIONS, POSITIONS, side, side), bool)
        for x, y in itertools.product(range(POSITIONS), repeat=2):
            images[x, y, scale * y : scale * y + window, scale * x : scale * x + window] = inside
        drawn.append(np.packbits(images.reshape(-1, side * side), axis=1))
    return np.concatenate(drawn)


def _inside(shape: str, radius: int, turn: int, window: int, scale: int) -> np.ndarray:
    """The pixels of a square of ``window`` pixels per side whose centres are in the shape in its middle, bool.

    (u, v) is the centre of a pixel in the axes of the shape, u to its right and v to its top. R is the ``radius``:

        square   max(|u|, |v|) <= R / sqrt(2)
        ellipse  u^2 + (2 v)^2 <= R^2
        heart    (u^2 + w^2 - h^2)^3 <= u^2 w^3 h,  h = 4 R / 5,  w = v + h / 4
    """
    # In units of 1 / PARTS of a pixel, from the middle, to the right and up. Python integers, because a heart's sixth
    # powers have 135 bits.
    centres = np.array([PARTS * pixel + PARTS // 2 - PARTS * window // 2 for pixel in range(window)], dtype=object)
    right, up = centres[None, :] - SHIFT[0] * scale, -(centres[:, None] - SHIFT[1] * scale)
    cos, sin = turned(turn)
    u, v, R = cos * right + sin * up, cos * up - sin * right, PARTS * scale * radius * UNIT
    if shape == "square":
        # 181 / 256 approximates sqrt(1 / 2).
        return (256 * np.maximum(abs(u), abs(v)) <= 181 * R).astype(bool)
    if shape == "ellipse":
        return (u**2 + (2 * v) ** 2 <= R**2).astype(bool)
    # All lengths are multiplied by five, so that h is an integer.
    u, w, h = 5 * u, 5 * v + R, 4 * R
    return ((u**2 + w**2 - h**2) ** 3 <= u**2 * w**3 * h).astype(bool)


def turned(turn: int) -> tuple[int, int]:
    """Cosine and sine of an orientation, as integers in units of 1 / :data:`UNIT`."""
    angle = 2 * math.pi * turn / TURNS
    return round(UNIT * math.cos(angle)), round(UNIT * math.sin(angle))


def _bits(side: int) -> np.ndarray:
    """The images of :func:`draw`, read from the cache if they have the right digest there."""
    path = cache_root() / "arrays" / f"shapes-{side}.bits"
    try:
        data = path.read_bytes()
    except OSError:
        data = b""
    if hashlib.sha256(data).hexdigest() != SHA256[side]:
        if data:
            log.warning("%s is damaged (its content does not match its digest): it is made again", path)
        with doing("drawing shapes"):
            data = draw(side).tobytes()
        try:
            write_atomically(path, data)
        except OSError as error:
            log.warning("%s cannot be written (%s): shapes will be drawn again next time", path, error.strerror)
    return np.frombuffer(data, np.uint8).reshape(COUNT, -1)


def _dsprites(config: DatasetConfig, path: Path, side: int) -> Dataset:
    """dSprites, on a memory map: 3 GiB as bytes. The images are read from its file only if they are not cached."""
    names = names_in(path)
    lacking = [name for name in (IMAGES, CLASSES, VALUES) if name not in names]
    if lacking:
        raise UserError(f"{path} is not the file of dSprites: it has no array {lacking[0]!r}")
    which, values = read_array(path, CLASSES), read_array(path, VALUES)
    factors, columns = _dsprites_factors(path, which, values)
    order, sizes = shares(len(which), config)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()

    @cache
    def pixels() -> np.ndarray:
        images = read_array(path, IMAGES)
        if images.shape != (len(which), side, side) or images.dtype != np.uint8 or images.max(initial=0) > 1:
            raise UserError(
                f"{path}: {IMAGES} must be {len(which)} images of {side}x{side} pixels 0 and 1, got {images.dtype} of "
                f"shape {images.shape}"
            )
        return images

    def read(name: str, factor: int) -> np.ndarray:
        return pixels()[int(name)][None] * np.uint8(255)

    pixels_of = [str(row) for row in order.tolist()]
    facts = {"source": digest, "order": 0}
    images, sha256 = decoded_array(cache_root() / "arrays", config.name, facts, pixels_of, (1, side, side), read)
    found = torch.from_numpy(which[:, columns].astype(np.int64))[order]
    identity = hashlib.sha256(f"{sha256} {sizes}".encode()).hexdigest()
    shape = found[:, [factor.name for factor in factors].index("shape")].contiguous()
    split = Split(images, shape, found)
    return _titled(splits_of(config, split, sizes, identity, len(SHAPES), factors), "dSprites, binary", side)


def _dsprites_factors(path: Path, which: np.ndarray, values: np.ndarray) -> tuple[tuple[Factor, ...], list[int]]:
    """The factors that have more than one value, and their columns."""
    count = len(DSPRITES_FACTORS)
    whole = which.dtype.kind in "iu" and which.ndim == 2 and which.shape[1] == count and which.min(initial=0) >= 0
    if not whole or values.shape != which.shape or values.dtype.kind != "f":
        raise UserError(
            f"{path} is not the file of dSprites: {CLASSES} and {VALUES} must have {count} columns, of whole numbers "
            f"and of numbers; got {which.dtype} of shape {which.shape} and {values.dtype} of shape {values.shape}"
        )
    factors, columns = [], []
    for column, name in enumerate(DSPRITES_FACTORS):
        # first: the first row of each value.
        found, first = np.unique(which[:, column], return_index=True)
        if not np.array_equal(found, np.arange(len(found))):
            raise UserError(f"{path}: {CLASSES} of {name} must be numbered 0, 1, 2, ...")
        if len(found) > 1:
            of_class = tuple(float(value) for value in values[first, column])
            factors.append(Factor(name, SHAPES[: len(found)] if name == "shape" else of_class))
            columns.append(column)
    return tuple(factors), columns


def _titled(data: Dataset, title: str, side: int) -> Dataset:
    """``data`` with the size of its images in the title."""
    return dataclasses.replace(data, title=f"{title}, {side}x{side}")
