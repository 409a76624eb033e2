"""Image files decoded once into an array file, which is memory-mapped ever after."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import logging
import os
import zipfile
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from benchmarks.errors import UserError
from benchmarks.files import locked, write_atomically

log = logging.getLogger(__name__)

# Images that a worker decodes between two steps of the progress bar.
CHUNK = 64
MODES = {1: "L", 3: "RGB"}
# What reading, unzipping or decoding a damaged file raises.
UNREADABLE = (OSError, SyntaxError, EOFError, zipfile.BadZipFile, zlib.error, Image.DecompressionBombError)
# (width, height) -> the part of an image to keep: (left, top, right, bottom) in its pixels, fractions allowed.
Box = Callable[[int, int], tuple[float, float, float, float]]


def decode(data: bytes, name: str, channels: int, size: tuple[int, int], box: Box) -> np.ndarray:
    """One image file as uint8 (channels, height, width): cropped to ``box`` and resized to ``size`` (width, height) by
    an antialiased triangle filter. Raises :class:`UserError` that names a file that cannot be read."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.mode in ("I", "F") or image.mode.startswith("I;16"):
                raise UserError(f"{name} has more than 8 bits a pixel (mode {image.mode})")
            left, top, right, bottom = box(*image.size)
            # Rounding may put an edge beyond the image by a hair, which Pillow refuses.
            part = (max(0, left), max(0, top), min(image.width, right), min(image.height, bottom))
            pixels = image.convert(MODES[channels])
            if part != (0, 0, *size):
                pixels = pixels.resize(size, Image.Resampling.BILINEAR, box=part)
    except UNREADABLE as error:
        raise UserError(f"{name} cannot be read as an image: {error}") from error
    return np.asarray(pixels, dtype=np.uint8).reshape(size[1], size[0], channels).transpose(2, 0, 1)


def decoded_array(
    target: Path, facts: dict[str, Any], names: Sequence[str], read: Callable[[str], np.ndarray]
) -> tuple[Tensor, str]:
    """The images ``names``, in this order, as a uint8 tensor on a private memory map, and the SHA-256 of its bytes.

    The array file ``target`` and the manifest beside it are written once. They are used again as long as the manifest
    has the same ``facts``: whatever the pixels depend on. ``read`` decodes one image; it runs in as many threads as
    there are cores, which decode in parallel because Pillow and zlib let go of the interpreter's lock.
    """
    manifest = target.with_suffix(".json")
    with locked(target.with_suffix(".lock")):
        known = _manifest(manifest)
        if known.get("facts") != facts or not _is_whole(target, known):
            if known:
                log.info("%s is rebuilt: what it was made from, or how, has changed", target)
            known = {"facts": facts, **_build(target, manifest, names, read)}
            write_atomically(manifest, json.dumps(known, indent=2, sort_keys=True).encode())
    # A private map: pages come from the file as they are needed, and nothing can be written back to it.
    return torch.from_numpy(np.load(target, mmap_mode="c")), str(known["sha256"])


def _manifest(path: Path) -> dict[str, Any]:
    try:
        known = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _is_whole(target: Path, known: dict[str, Any]) -> bool:
    return target.exists() and target.stat().st_size == known.get("bytes")


def _build(
    target: Path, manifest: Path, names: Sequence[str], read: Callable[[str], np.ndarray]
) -> dict[str, str | int]:
    shape = (len(names), *read(names[0]).shape)
    # A manifest never describes an array other than its own.
    manifest.unlink(missing_ok=True)
    for abandoned in target.parent.glob(f".{target.name}.*.tmp"):
        abandoned.unlink()
    partial = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        digest = _decode_all(partial, shape, names, read, target.stem)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return {"sha256": digest, "bytes": target.stat().st_size}


def _decode_all(
    path: Path, shape: tuple[int, ...], names: Sequence[str], read: Callable[[str], np.ndarray], title: str
) -> str:
    """Fill a new array file; the SHA-256 of its bytes. No worker holds more than the image it decodes."""
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    _reserve(path)

    def fill(start: int) -> int:
        rows = range(start, min(start + CHUNK, len(names)))
        for row in rows:
            array[row] = read(names[row])
        return len(rows)

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with ThreadPoolExecutor(cores) as pool, tqdm(total=len(names), unit="image", desc=title) as bar:
        for count in pool.map(fill, range(0, len(names), CHUNK)):
            bar.update(count)
    array.flush()
    return hashlib.sha256(array.data).hexdigest()


def _reserve(path: Path) -> None:
    """Claim the disk space of a sparse file: a memory map that runs out of it kills the process."""
    if not hasattr(os, "posix_fallocate"):
        return
    with path.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                return
            needed = path.stat().st_size / 2**20
            raise UserError(f"no space for the decoded images: {path.parent} needs {needed:.0f} MiB") from error
