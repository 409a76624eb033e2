"""The source "array": an array file (.npz, .npy or IDX) as a data set."""

from __future__ import annotations

import gzip
import hashlib
import logging
import math
import os
import zipfile
from pathlib import Path
from typing import IO

import numpy as np
from torch import Tensor

from benchmarks.data.dataset import Dataset, DatasetConfig, Factor, Split, shares, splits_of
from benchmarks.data.readers.factors import as_factors, digest_of
from benchmarks.data.readers.idx import parse_idx
from benchmarks.data.values import as_images, as_labels
from benchmarks.errors import UserError
from variants.options import unknown

log = logging.getLogger(__name__)

# Names of the images, labels and factors in an .npz, unless dataset.labels and dataset.factors give others.
IMAGES, LABELS, FACTORS = "images", "labels", "factors"
# The factors' names are an array of texts, whose name is that of the factors with this suffix: "factors_names".
NAMES = "_names"
# Images are rarely compressed more than thirtyfold. An array of more than MUCH bytes that is compressed more than
# MOST_COMPRESSED times is rejected before it is read.
MOST_COMPRESSED, MUCH = 200, 2**28


def load_array(config: DatasetConfig, root: Path) -> Dataset:
    """The images in ``config.path``, shuffled once with a fixed seed and split by shares.

    In an ``.npz`` they are the array ``images``, or the only array. :mod:`benchmarks.data.values` says which images and
    labels are accepted, :func:`benchmarks.data.readers.factors.as_factors` which factors are. Raises :class:`UserError`
    for anything else.
    """
    path = root / Path(config.path or "").expanduser()
    names = names_in(path)
    images_name = _name_of(IMAGES, names, path)
    images = as_images(read_array(path, images_name), str(path))
    labels = None
    if config.labels is not None and path.suffix == ".npz":
        labels = read_array(path, _name_of(config.labels, names, path))
    elif config.labels is not None:
        beside = root / Path(config.labels).expanduser()
        labels = read_array(beside, _name_of(LABELS, names_in(beside), beside))
    elif LABELS in names and images_name != LABELS:
        labels = read_array(path, LABELS)
    factors_name = config.factors or FACTORS
    known = (images_name, config.labels or LABELS, factors_name, factors_name + NAMES)
    unused = [name for name in names if name not in known]
    if unused and labels is None:
        log.warning("%s: %s is ignored; dataset.labels=... uses one as the labels", path, ", ".join(unused))
    targets = None if labels is None else as_labels(labels, len(images), str(path))
    which, factors = _factors(config, path, names, images_name, len(images))
    order, sizes = shares(len(images), config)
    split = Split(images, targets, which).of(order)
    digest = hashlib.sha256(split.images.numpy().data)
    channels, height, width = split.images.shape[1:]
    # The bytes of square images can only have one shape, and keep the digests of earlier records.
    if height != width:
        digest.update(repr((channels, height, width)).encode())
    if split.labels is not None:
        digest.update(split.labels.numpy().data)
    digest.update(repr(sizes).encode())
    if split.factors is not None:
        digest.update(digest_of(factors, split.factors))
    classes = 0 if targets is None else int(targets.max()) + 1 if targets.dim() == 1 else targets.shape[1]
    return splits_of(config, split, sizes, digest.hexdigest(), classes, factors)


def _factors(
    config: DatasetConfig, path: Path, names: list[str], images_name: str, count: int
) -> tuple[Tensor | None, tuple[Factor, ...]]:
    """The factors of ``count`` images, as indices and kinds; None and () if the file has none."""
    if config.factors is not None and path.suffix != ".npz":
        raise UserError(f"dataset.factors={config.factors} needs an .npz, with images and factors, not {path.name}")
    name = config.factors or FACTORS
    if name == images_name or (config.factors is None and name not in names):
        return None, ()
    of = read_array(path, _name_of(name, names, path))
    called = read_array(path, name + NAMES).reshape(-1).tolist() if name + NAMES in names else None
    return as_factors(of, count, called, str(path))


def _name_of(wanted: str, names: list[str], path: Path) -> str:
    """``wanted`` if the file has an array of that name, else the name of its only array.

    The only array is used only for images and labels with their default names. Raises :class:`UserError` otherwise.
    """
    if wanted in names:
        return wanted
    if len(names) == 1 and wanted in (IMAGES, LABELS):
        return names[0]
    raise UserError(unknown(f"array in {path}", wanted, names))


def names_in(path: Path) -> list[str]:
    """The names of the arrays in a file. An ``.npy`` or IDX file has one array, with an empty name."""
    if not path.is_file():
        raise UserError(f"{path} does not exist")
    if path.suffix != ".npz":
        return [""]
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError) as error:
        raise UserError(f"{path} cannot be read: {' '.join(str(error).split())}") from error


def read_array(path: Path, name: str) -> np.ndarray:
    """The array ``name`` in a file.

    Sizes are checked, so that a small file cannot make the process allocate much memory. Raises :class:`UserError`.
    """
    try:
        if path.suffix == ".npz":
            with zipfile.ZipFile(path) as archive:
                member = archive.getinfo(f"{name}.npy")
                with archive.open(member) as stream:
                    _check_header(stream, member.file_size, member.compress_size)
                with archive.open(member) as stream:
                    return np.lib.format.read_array(stream, allow_pickle=False)
        stored = path.stat().st_size
        if path.suffix == ".npy":
            with path.open("rb") as file:
                _check_header(file, stored, stored)
                file.seek(0)
                return np.lib.format.read_array(file, allow_pickle=False)
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            most = max(MUCH, MOST_COMPRESSED * stored)
            data = file.read(most + 1)
            _check_size(len(data), stored)
            return parse_idx(data, str(path)).numpy()
    # The parsers of three formats raise many types of exceptions for malformed files.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path} cannot be read: {reason[:300]}") from error


def _check_header(stream: IO[bytes], size: int, stored: int) -> None:
    """Check the header of an ``.npy`` file of ``size`` bytes, which take ``stored`` bytes on disk.

    Raises ``ValueError`` unless the header declares as many bytes as there are, and the array has no Python objects and
    fits into memory.
    """
    version = np.lib.format.read_magic(stream)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"version {version[0]}.{version[1]} of the .npy format is not supported")
    try:
        shape, _, dtype = readers[version](stream)
    except Exception as error:
        raise ValueError("the header of the array is damaged") from error
    if dtype.hasobject:
        raise ValueError("the array holds Python objects, not numbers")
    claimed, there = math.prod(shape) * dtype.itemsize, size - stream.tell()
    if claimed != there or any(length < 0 for length in shape):
        raise ValueError(f"its header declares {claimed} bytes of shape {shape}, but {there} bytes follow")
    _check_size(claimed, stored)


def _check_size(size: int, stored: int) -> None:
    if size > max(MUCH, MOST_COMPRESSED * stored):
        raise ValueError(
            f"{stored} bytes decompress to {size / 2**20:,.0f} MiB, more than {MOST_COMPRESSED} times as many: save "
            "the array uncompressed if it holds images"
        )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if 2 * size > memory:
        raise ValueError(f"it does not fit into memory: shuffling it takes twice its {size / 2**30:,.1f} GiB")
