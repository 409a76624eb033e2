"""Image files, decoded once into an array file that is memory-mapped from then on."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import logging
import os
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from benchmarks.data.values import factor_of
from benchmarks.errors import UserError
from benchmarks.files import locked, write_atomically
from benchmarks.progress.report import counted_off, doing, has_listener

log = logging.getLogger(__name__)

# The formats that are opened, whatever a file's extension. Some of Pillow's other formats start external programs.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
# The colour behind transparent pixels: white.
BACKGROUND = (255, 255, 255, 255)
# Images that a worker decodes between two updates of the progress bar.
CHUNK = 64
# An array that was made from earlier files of a data set is deleted after this many days without use.
KEPT_DAYS = 7
MODES = {1: "L", 3: "RGB"}
_EXIF_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# (width, height) -> the part of an image to keep: (left, top, right, bottom) in its pixels, fractions allowed.
Box = Callable[[int, int], tuple[float, float, float, float]]
# (name, factor) -> the image as uint8 (channels, height, width), with bytes multiplied by the factor before a resize.
Reader = Callable[[str, int], np.ndarray]


def decode(data: bytes, name: str, channels: int, size: tuple[int, int], box: Box, factor: int = 1) -> np.ndarray:
    """Decode one image file to uint8 (channels, height, width), as an image viewer shows it.

    The image is rotated by its EXIF orientation, transparent pixels are blended with white, and the first frame of an
    animation is used. Bytes are multiplied by ``factor``. Then the image is cropped to ``box`` and resized to ``size``
    (width, height) by an antialiased triangle filter. Raises :class:`UserError` that names the file if it cannot be
    read.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.mode in ("I", "F") or image.mode.startswith("I;16"):
                raise UserError(f"{name} has more than 8 bits per grey pixel (mode {image.mode}): save it with 8 bits")
            image.load()
            pixels = _on_background(_turned(image)).convert(MODES[channels])
            left, top, right, bottom = box(*pixels.size)
            # Rounding may put an edge slightly outside the image, which Pillow rejects.
            part = (max(0, left), max(0, top), min(pixels.width, right), min(pixels.height, bottom))
            if factor != 1:
                pixels = pixels.point([min(255, level * factor) for level in range(256)] * channels)
            if part != (0, 0, *size):
                pixels = pixels.resize(size, Image.Resampling.BILINEAR, box=part)
    except UserError:
        raise
    # Pillow's parsers raise many types of exceptions for a damaged file.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{name} cannot be read as an image: {reason[:300]}") from error
    return np.asarray(pixels, dtype=np.uint8).reshape(size[1], size[0], channels).transpose(2, 0, 1)


def header(path: Path) -> tuple[tuple[int, int], str]:
    """((width, height), mode) of an image file, rotated as by :func:`decode`. Raises Pillow's exceptions."""
    with Image.open(path, formats=FORMATS) as image:
        width, height = image.size
        return ((height, width) if _orientation(image) >= 5 else (width, height)), image.mode


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 if there is none or it cannot be read."""
    if image.format == "TIFF":
        return 1  # Pillow rotates TIFF images itself.
    try:
        # The method of the base class, because that of PNG decodes the whole image.
        found = Image.Image.getexif(image).get(_EXIF_ORIENTATION, 1)
    except Exception:
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _turned(image: Image.Image) -> Image.Image:
    orientation = _orientation(image)
    return image if orientation == 1 else image.transpose(_TURNS[orientation])


def _on_background(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image
    # Pillow converts premultiplied grey ("La") to RGBA only by way of "LA".
    above = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, BACKGROUND), above).convert("RGB")


def decoded_array(
    folder: Path, title: str, facts: dict[str, Any], names: Sequence[str], shape: tuple[int, ...], read: Reader
) -> tuple[Tensor, str]:
    """The images ``names``, decoded into an array file or read from it, and the SHA-256 of their bytes.

    The images are a uint8 tensor (n, *shape) on a private memory map, in the order of ``names``.

    ``facts`` are all settings that the pixels depend on. Every combination of ``title``, ``facts`` and shape has its
    own array file in ``folder``, which is written once, with a manifest next to it. The file is used again if its bytes
    have the digest in the manifest; otherwise the images are decoded again. ``read`` decodes one image. It runs in as
    many threads as there are cores, which decode in parallel because Pillow and zlib release the GIL. If ``folder``
    cannot be written, the images are decoded into memory.
    """
    shape = (len(names), *shape)
    readable = re.sub(r"[^\w-]", "_", title)[:60]
    key = hashlib.sha256(json.dumps([title, facts, shape], sort_keys=True).encode()).hexdigest()
    target = folder / f"{readable}-{key[:16]}.npy"
    with locked(folder / f"{readable}.lock") as held:
        found = _whole(target, title, shape)
        if found is None:
            if held:
                _remove_unused(folder, readable, title, facts)
            found = _build(target, title, facts, names, shape, read)
    array, digest = found
    return torch.from_numpy(array), digest


def _whole(target: Path, title: str, shape: tuple[int, ...]) -> tuple[np.ndarray, str] | None:
    """A stored array and its digest; None if there is none, or if it is damaged.

    The log names a damaged array.
    """
    manifest = target.with_suffix(".json")
    try:
        known = json.loads(manifest.read_bytes())
        # A private map (copy-on-write): pages are read from the file when they are needed, and nothing is written back
        # to it.
        array = np.lib.format.open_memmap(target, mode="c")
        digest, factor = str(known["sha256"]), int(known["factor"])
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    # NumPy's parser raises many types of exceptions for a damaged file.
    except Exception as error:
        log.warning("%s is damaged (%s): it is made again", target, " ".join(str(error).split()))
        return None
    expected = array.dtype == np.uint8 and array.shape == shape and array.flags.c_contiguous
    if not expected or hashlib.sha256(array.data).hexdigest() != digest or factor not in (1, 255):
        log.warning("%s is damaged (its content does not match its digest): it is made again", target)
        return None
    with contextlib.suppress(OSError):  # The file may belong to another user.
        os.utime(manifest)
    if factor != 1:
        factor_of(1, title)
    return array, digest


def _build(
    target: Path, title: str, facts: dict[str, Any], names: Sequence[str], shape: tuple[int, ...], read: Reader
) -> tuple[np.ndarray, str]:
    manifest = target.with_suffix(".json")
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        # Deleted first, so that a manifest never describes another array than its own.
        manifest.unlink(missing_ok=True)
        array = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)
    except OSError as error:
        log.warning(
            "%s cannot be written (%s): decoding images into memory instead", target.parent, error.strerror or error
        )
        with contextlib.suppress(OSError):
            partial.unlink()
        in_memory = np.empty(shape, np.uint8)
        return in_memory, _decode_all(in_memory, names, read, title)[0]
    try:
        _reserve(partial)
        digest, factor = _decode_all(array, names, read, title)
        array.flush()
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    known = {"name": title, "facts": facts, "sha256": digest, "factor": factor}
    try:
        write_atomically(manifest, json.dumps(known, indent=2, sort_keys=True).encode())
    except OSError as error:
        log.warning(
            "%s cannot be written (%s): images will be decoded again next time", manifest, error.strerror or error
        )
    return np.lib.format.open_memmap(target, mode="c"), digest


def _decode_all(array: np.ndarray, names: Sequence[str], read: Reader, title: str) -> tuple[str, int]:
    """Fill ``array``; return the SHA-256 of its bytes and the factor that they were multiplied by.

    A worker holds only the image that it decodes.
    """

    def fill(factor: int) -> None:
        def rows_from(start: int) -> int:
            rows = range(start, min(start + CHUNK, len(names)))
            for row in rows:
                array[row] = read(names[row], factor)
            return len(rows)

        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        with ThreadPoolExecutor(cores) as pool:
            for _ in _with_progress(pool.map(rows_from, range(0, len(names), CHUNK)), len(names), title):
                pass

    fill(1)
    factor = factor_of(int(array.max()), title)
    if factor != 1:
        # Decoded again to multiply before the resize, which would round averages at the edges of a mask to 0 or 1.
        fill(factor)
    return hashlib.sha256(array.data).hexdigest(), factor


def _with_progress(counts: Iterable[int], total: int, title: str) -> Iterator[int]:
    """Report how many images are decoded. Without a listener, as in a notebook, show a progress bar."""
    if has_listener():
        with doing(f"decoding {title}"):
            yield from counted_off(counts, total, "images", int)
        return
    with tqdm(total=total, unit="image", desc=title, disable=None) as bar:
        for count in counts:
            bar.update(count)
            yield count


def _reserve(path: Path) -> None:
    """Reserve the disk space of a sparse file, because a full disk kills a process that writes to a memory map."""
    if not hasattr(os, "posix_fallocate"):
        return
    with path.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                return
            needed = path.stat().st_size / 2**20
            raise UserError(
                f"not enough disk space for the decoded images: {path.parent} needs {needed:.0f} MiB"
            ) from error


def _remove_unused(folder: Path, readable: str, title: str, facts: dict[str, Any]) -> None:
    """Delete partial files of killed processes, and outdated arrays that are no longer used.

    An outdated array has the same data set and preprocessing, but was made from other files.
    """
    key = "[0-9a-f]" * 16
    for abandoned in folder.glob(f".{readable}-{key}.npy.*.tmp"):
        with contextlib.suppress(OSError):
            abandoned.unlink()
    for manifest in folder.glob(f"{readable}-{key}.json"):
        try:
            known = json.loads(manifest.read_bytes())
            same = known["name"] == title and {**known["facts"], "source": facts["source"]} == facts
            if same and known["facts"] != facts and time.time() - manifest.stat().st_mtime > KEPT_DAYS * 86400:
                manifest.unlink()
                manifest.with_suffix(".npy").unlink()
                log.info("deleted %s: the files it was made from have changed", manifest.with_suffix(".npy"))
        except (OSError, ValueError, KeyError, TypeError):
            continue
