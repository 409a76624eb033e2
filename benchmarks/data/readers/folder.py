"""The source "folder": a folder of image files as a data set."""

from __future__ import annotations

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from benchmarks.data.dataset import Dataset, DatasetConfig, Factor, Split, shares, splits_of
from benchmarks.data.readers.factors import digest_of, read_table
from benchmarks.data.readers.image_files import decode, decoded_array, header
from benchmarks.data.sources import cache_root
from benchmarks.errors import UserError

log = logging.getLogger(__name__)

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
GREY_MODES = ("1", "L", "LA")
# Folders that other systems create next to images. Names that begin with a dot are skipped as well.
SYSTEM_FOLDERS = ("__MACOSX", "@eaDir")
# Sub-folders with these names are splits, not classes.
SPLIT_NAMES = ("train", "training", "val", "valid", "validation", "dev", "test", "testing")


def load_folder(config: DatasetConfig, root: Path) -> Dataset:
    """All images below ``config.path``, shuffled once with a fixed seed and split by shares, on a memory map.

    With ``image_size``, the largest centred square is resized; without it, all images must have the same size. Without
    ``channels``, images are grey if all files are grey. If every image is in a sub-folder, its class is the name of the
    top-level one. ``config.factors`` is a CSV file with the factors of every image. Links are followed; hidden files
    and folders are skipped. Raises :class:`UserError` that names the files that cannot be used.
    """
    folder = root / Path(config.path or "").expanduser()
    if not folder.is_dir():
        raise UserError(f"dataset.path: {folder} is not a folder")
    files = _find(folder)
    if not files:
        raise UserError(f"dataset.path: no images in {folder} (looked for {', '.join(EXTENSIONS)})")
    order, sizes = shares(len(files), config)
    files = [files[i] for i in order.tolist()]
    labels, classes = _classes([path.relative_to(folder) for path in files], folder)
    which: torch.Tensor | None = None
    factors: tuple[Factor, ...] = ()
    if config.factors is not None:
        paths = [path.relative_to(folder).as_posix() for path in files]
        which, factors = read_table(root / Path(config.factors).expanduser(), paths)
    size, channels = _size_and_channels(files, config)

    def box(width: int, height: int) -> tuple[float, float, float, float]:
        if config.image_size is None:
            if (width, height) != size:
                raise UserError(f"an image in {folder} is {width}x{height}, which differs from its header")
            return 0, 0, width, height
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        return left, top, left + side, top + side

    def read(name: str, factor: int) -> np.ndarray:
        return decode((folder / name).read_bytes(), _shown(folder / name), channels, size, box, factor)

    fingerprint = hashlib.sha256()
    for path in files:
        status = path.stat()
        # The time of any last change as well, because archives and copies give new files the old modification time.
        state = f" {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}\n"
        fingerprint.update(os.fsencode(path.relative_to(folder)) + state.encode())
    names = [str(path.relative_to(folder)) for path in files]
    facts = {"source": fingerprint.hexdigest(), "size": list(size), "channels": channels, "filter": "bilinear"}
    shape = (channels, size[1], size[0])
    images, digest = decoded_array(cache_root() / "arrays", config.name, facts, names, shape, read)
    sha256 = hashlib.sha256((digest + repr(sizes) + repr(None if labels is None else labels.tolist())).encode())
    if which is not None:
        sha256.update(digest_of(factors, which))
    return splits_of(config, Split(images, labels, which), sizes, sha256.hexdigest(), classes, factors)


def _shown(path: Path) -> str:
    """A path for a message, with escapes for bytes that are not UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _find(folder: Path) -> list[Path]:
    """The image files below ``folder``, sorted. The log names ignored files by their extensions, except hidden ones."""
    files, left_out = [], Counter[str]()
    # Each folder with the real paths of itself and its parents, to detect links to one of them.
    pending = [(folder, frozenset({folder.resolve()}))]
    while pending:
        current, above = pending.pop()
        try:
            entries = sorted(current.iterdir())
        except OSError as error:
            raise UserError(f"{_shown(current)} cannot be read: {error.strerror or error}") from error
        for path in entries:
            if path.name.startswith(".") or path.name in SYSTEM_FOLDERS:
                continue
            if path.is_dir():
                if path.resolve() in above:
                    log.warning("%s links to one of its parent folders and is ignored", _shown(path))
                else:
                    pending.append((path, above | {path.resolve()}))
            elif path.suffix.lower() not in EXTENSIONS:
                left_out[path.suffix.lower() or path.name] += 1
            elif path.is_file():
                files.append(path)
            else:
                raise UserError(f"{_shown(path)} is a broken link: fix or remove it")
    if left_out:
        kinds = ", ".join(f"{kind!r} ({count})" for kind, count in left_out.most_common(5))
        log.warning("%s: ignoring files without the extension of an image: %s", _shown(folder), kinds)
    return sorted(files)


def _size_and_channels(files: Sequence[Path], config: DatasetConfig) -> tuple[tuple[int, int], int]:
    """((width, height), channels) of the data set's images. Only the files' headers are read."""
    with ThreadPoolExecutor() as pool:
        headers = list(zip(files, pool.map(_header, files), strict=True))
    unreadable = [f"{_shown(path)} ({reason})" for path, reason in headers if isinstance(reason, str)]
    if unreadable:
        more = f", and {len(unreadable) - 3} more" if len(unreadable) > 3 else ""
        raise UserError(f"cannot be read as images: {', '.join(unreadable[:3])}{more}")
    read = [facts for _, facts in headers if not isinstance(facts, str)]
    channels = config.channels or (1 if all(mode in GREY_MODES for _, mode in read) else 3)
    if config.image_size is not None:
        return (config.image_size, config.image_size), channels
    found = Counter(size for size, _ in read).most_common()
    if len(found) > 1:
        examples = [f"{w}x{h} ({_shown(files[[s for s, _ in read].index((w, h))])})" for (w, h), _ in found[:3]]
        raise UserError(f"images of {len(found)} sizes: {', '.join(examples)}; set dataset.image_size to resize them")
    return found[0][0], channels


def _header(path: Path) -> tuple[tuple[int, int], str] | str:
    """((width, height), mode), or the reason why the file is not an image."""
    try:
        return header(path)
    # Pillow's parsers raise many types of exceptions for a damaged file.
    except Exception as error:
        return type(error).__name__


def _classes(paths: Sequence[Path], folder: Path) -> tuple[torch.Tensor | None, int]:
    """The class of every image, int64 (n,), and the number of classes; None and 0 if there are no classes."""
    names = sorted({path.parts[0] for path in paths if len(path.parts) > 1})
    splits = [name for name in names if name.lower() in SPLIT_NAMES]
    if splits and (len(splits) > 1 or splits == names):
        raise UserError(
            f"dataset.path: the sub-folders {', '.join(splits)} of {_shown(folder)} are splits by their names, not "
            "classes: set dataset.path to one of them, or put the images of all into one folder, which "
            "dataset.validation_share and dataset.test_share split"
        )
    outside = sum(len(path.parts) < 2 for path in paths)
    if names and outside:
        log.warning("%s: %d images are not in a sub-folder, so no classes are read", _shown(folder), outside)
    if not names or outside:
        return None, 0
    if len(names) == 1:
        log.warning("%s: all images are in one sub-folder, so there is a single class", _shown(folder))
    return torch.tensor([names.index(path.parts[0]) for path in paths]), len(names)
