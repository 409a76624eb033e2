"""Shapes: binary images of one shape each, drawn here from a formula, every combination of five factors once. They are
in the manner of dSprites (Matthey et al. 2017) and are not dSprites: what is published of those is not of these."""

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
# Of the circle around a shape, in pixels of a 32x32 image.
RADII = (5, 6, 7, 8, 9)
# An odd number of turns: a square looks the same after a quarter of a turn and an ellipse after a half, and no quarter
# or half is a number of these steps, so that no two images are equal.
TURNS = 15
# Along either axis, a pixel of a 32x32 image apart.
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
# Sines and cosines are whole numbers of this part of 1, so that all arithmetic is of whole numbers and exact: the
# images do not depend on how a processor rounds.
UNIT = 4096
# Lengths are in so many parts of a pixel.
PARTS = 8
# The centre of a shape is that of a pixel but for these parts of a pixel of a 32x32 image, to the right and down:
# exactly on it, small squares of different turns would cover the same pixels.
SHIFT = (1, 2)
# The arrays of dSprites' file, and its factors; the first one, colour, has one value.
IMAGES, CLASSES, VALUES = "imgs", "latents_classes", "latents_values"
DSPRITES_FACTORS = ("colour", "shape", "scale", "orientation", "x", "y")


def load_shapes(config: DatasetConfig, root: Path) -> Dataset:
    """All :data:`COUNT` images of :data:`FACTORS`, or dSprites from the file ``config.path``, shuffled once by a fixed
    seed and split by shares. The class of an image is its shape.

    The images of the suite are drawn in a second or two, and kept as bits in the cache.
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
    """Which value of each factor every image has, int64 (:data:`COUNT`, 5): the position down the image changes
    fastest, the shape slowest."""
    return torch.from_numpy(np.indices(SIZES).reshape(len(SIZES), -1).T.copy())


def draw(side: int) -> np.ndarray:
    """All images of ``side`` pixels, uint8 (:data:`COUNT`, side * side / 8): a bit a pixel, row after row."""
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
    """Which pixels of a square of ``window`` pixels have their centres in the shape in its middle, bool.

    With (u, v) the centre of a pixel in the axes of the shape, u to its right and v to its top, and R the ``radius``:

        square   max(|u|, |v|) <= R / sqrt(2)
        ellipse  u^2 + (2 v)^2 <= R^2
        heart    (u^2 + w^2 - h^2)^3 <= u^2 w^3 h,  h = 4 R / 5,  w = v + h / 4
    """
    # In the parts of a pixel, from the middle, right and up. Numbers of Python's: a heart's sixth powers have 135 bits.
    centres = np.array([PARTS * pixel + PARTS // 2 - PARTS * window // 2 for pixel in range(window)], dtype=object)
    right, up = centres[None, :] - SHIFT[0] * scale, -(centres[:, None] - SHIFT[1] * scale)
    cos, sin = turned(turn)
    u, v, R = cos * right + sin * up, cos * up - sin * right, PARTS * scale * radius * UNIT
    if shape == "square":
        # 181 / 256 for the root of one half.
        return (256 * np.maximum(abs(u), abs(v)) <= 181 * R).astype(bool)
    if shape == "ellipse":
        return (u**2 + (2 * v) ** 2 <= R**2).astype(bool)
    # All lengths five times as long, so that h is whole.
    u, w, h = 5 * u, 5 * v + R, 4 * R
    return ((u**2 + w**2 - h**2) ** 3 <= u**2 * w**3 * h).astype(bool)


def turned(turn: int) -> tuple[int, int]:
    """Cosine and sine of an orientation, in whole parts of 1."""
    angle = 2 * math.pi * turn / TURNS
    return round(UNIT * math.cos(angle)), round(UNIT * math.sin(angle))


def _bits(side: int) -> np.ndarray:
    """:func:`draw`, from the cache where it is there with its digest."""
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
    """dSprites, on a memory map: 3 GiB as bytes. Its file is read where they are not in the cache yet."""
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
    """The factors that vary, and their columns."""
    count = len(DSPRITES_FACTORS)
    whole = which.dtype.kind in "iu" and which.ndim == 2 and which.shape[1] == count and which.min(initial=0) >= 0
    if not whole or values.shape != which.shape or values.dtype.kind != "f":
        raise UserError(
            f"{path} is not the file of dSprites: {CLASSES} and {VALUES} must have {count} columns, of whole numbers "
            f"and of numbers; got {which.dtype} of shape {which.shape} and {values.dtype} of shape {values.shape}"
        )
    factors, columns = [], []
    for column, name in enumerate(DSPRITES_FACTORS):
        # Where a value stands for the first time.
        found, first = np.unique(which[:, column], return_index=True)
        if not np.array_equal(found, np.arange(len(found))):
            raise UserError(f"{path}: {CLASSES} of {name} must be numbered 0, 1, 2, ...")
        if len(found) > 1:
            of_class = tuple(float(value) for value in values[first, column])
            factors.append(Factor(name, SHAPES[: len(found)] if name == "shape" else of_class))
            columns.append(column)
    return tuple(factors), columns


def _titled(data: Dataset, title: str, side: int) -> Dataset:
    """What a report calls the images says which they are."""
    return dataclasses.replace(data, title=f"{title}, {side}x{side}")
