"""A folder of image files as a data set, by configuration alone."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.data.dataset import Dataset, DatasetConfig, shares, splits_of
from benchmarks.data.readers.image_files import UNREADABLE, decode, decoded_array
from benchmarks.data.sources import cache_root
from benchmarks.errors import UserError

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
GREY_MODES = ("1", "L", "LA")


def load_folder(config: DatasetConfig, root: Path) -> Dataset:
    """All images below ``config.path``, shuffled once by a fixed seed and split by shares, on a memory map.

    With ``image_size`` the largest centred square is resized; without it, all images must have one size. Without
    ``channels``, images are grey if all files are. If every image lies in a sub-folder, the first sub-folder's name is
    its class. Raises :class:`UserError` that names the files that cannot be used.
    """
    folder = root / Path(config.path or "").expanduser()
    if not folder.is_dir():
        raise UserError(f"dataset.path: {folder} is not a folder")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in EXTENSIONS and path.is_file())
    if not files:
        raise UserError(f"dataset.path: no images in {folder} (looked for {', '.join(EXTENSIONS)})")
    order, sizes = shares(len(files), config)
    files = [files[i] for i in order.tolist()]
    size, channels = _size_and_channels(files, config)

    def box(width: int, height: int) -> tuple[float, float, float, float]:
        if config.image_size is None:
            return 0, 0, width, height
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        return left, top, left + side, top + side

    def read(name: str) -> np.ndarray:
        return decode((folder / name).read_bytes(), str(folder / name), channels, size, box)

    fingerprint = hashlib.sha256()
    for path in files:
        status = path.stat()
        fingerprint.update(f"{path.relative_to(folder)} {status.st_size} {status.st_mtime_ns}\n".encode())
    names = [str(path.relative_to(folder)) for path in files]
    facts = {"source": fingerprint.hexdigest(), "size": list(size), "channels": channels, "filter": "bilinear"}
    images, digest = decoded_array(cache_root() / "arrays" / f"{config.name}.npy", facts, names, read)
    labels, classes = _classes([path.relative_to(folder) for path in files])
    sha256 = hashlib.sha256((digest + repr(sizes) + repr(None if labels is None else labels.tolist())).encode())
    return splits_of(config, images, labels, sizes, sha256.hexdigest(), classes)


def _size_and_channels(files: Sequence[Path], config: DatasetConfig) -> tuple[tuple[int, int], int]:
    """((width, height), channels) of the data set's images; only the files' headers are read."""
    with ThreadPoolExecutor() as pool:
        headers = list(pool.map(_header, files))
    unreadable = [f"{path} ({found})" for path, found in zip(files, headers, strict=True) if isinstance(found, str)]
    if unreadable:
        more = f", and {len(unreadable) - 3} more" if len(unreadable) > 3 else ""
        raise UserError(f"cannot be read as images: {', '.join(unreadable[:3])}{more}")
    read = [found for found in headers if not isinstance(found, str)]
    channels = config.channels or (1 if all(mode in GREY_MODES for _, mode in read) else 3)
    if config.image_size is not None:
        return (config.image_size, config.image_size), channels
    found = Counter(size for size, _ in read).most_common()
    if len(found) > 1:
        examples = [f"{w}x{h} ({files[[s for s, _ in read].index((w, h))]})" for (w, h), _ in found[:3]]
        raise UserError(f"images of {len(found)} sizes: {', '.join(examples)}; set dataset.image_size to resize them")
    return found[0][0], channels


def _header(path: Path) -> tuple[tuple[int, int], str] | str:
    """((width, height), mode), or why the file is not an image."""
    try:
        with Image.open(path) as image:
            return image.size, image.mode
    except UNREADABLE as error:
        return type(error).__name__


def _classes(paths: Sequence[Path]) -> tuple[torch.Tensor | None, int]:
    if any(len(path.parts) < 2 for path in paths):
        return None, 0
    names = sorted({path.parts[0] for path in paths})
    return torch.tensor([names.index(path.parts[0]) for path in paths]), len(names)
