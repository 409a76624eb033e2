"""CelebA (Liu et al. 2015): 202,599 aligned faces with 40 attributes, and the official split."""

from __future__ import annotations

import hashlib
import logging
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.data.dataset import Dataset, DatasetConfig, Split, splits_of
from benchmarks.data.readers.image_files import decode, decoded_array
from benchmarks.data.sources import cache_root
from benchmarks.errors import UserError
from benchmarks.files import locked

log = logging.getLogger(__name__)

OFFICIAL_IMAGES = 202_599
# The size of the official aligned images. The crop is scaled with the image, so that copies at other resolutions work,
# too.
ALIGNED_WIDTH, ALIGNED_HEIGHT = 178, 218
DEFAULT_SIZE, DEFAULT_CROP = 64, 140
# Largest accepted size of an archive member in bytes, because it is read into memory as a whole. A face has about 8 kB.
LARGEST_FILE = 2**24
ARCHIVE, PARTITION, ATTRIBUTES = "img_align_celeba.zip", "list_eval_partition.txt", "list_attr_celeba.txt"
HOME_PAGE = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"


def load_celeba(config: DatasetConfig, root: Path, download: bool = True) -> Dataset:
    """The official training, validation and test images, centre-cropped and resized, on a memory map.

    ``labels`` are the 40 attributes (n, 40) in {0, 1}. If a copy has another number of images, its title says that it
    is a sample. Raises :class:`UserError` if files are missing or do not match each other.
    """
    folder = root / "celeba"
    _find_files(folder, download)
    size, crop = config.image_size or DEFAULT_SIZE, config.crop or DEFAULT_CROP
    splits = _read_partition(folder / PARTITION)
    names = sorted(splits, key=lambda name: (splits[name], name))
    labels = _read_attributes(folder / ATTRIBUTES, names)
    images_of, fingerprint = _open_images(folder, names)

    def box(width: int, height: int) -> tuple[float, float, float, float]:
        scale = width / ALIGNED_WIDTH
        if abs(height - scale * ALIGNED_HEIGHT) > 1:
            raise UserError(f"an image of {width}x{height} is not an aligned CelebA face (178x218, or scaled)")
        left, top = (width - scale * crop) / 2, (height - scale * crop) / 2
        return left, top, left + scale * crop, top + scale * crop

    def read(name: str, factor: int) -> np.ndarray:
        try:
            data = images_of(name)
        # Damaged, encrypted or unusually compressed archives raise many types of exceptions.
        except Exception as error:
            raise UserError(f"{name} in {folder} cannot be read: {error}") from error
        return decode(data, name, 3, (size, size), box, factor)

    sizes = tuple(Counter(splits.values())[part] for part in range(3))
    facts = {"source": fingerprint, "crop": crop, "image_size": size, "split": list(sizes), "filter": "bilinear"}
    images, digest = decoded_array(cache_root() / "arrays", config.name, facts, names, (3, size, size), read)
    sha256 = hashlib.sha256(digest.encode() + labels.numpy().tobytes() + repr(sizes).encode()).hexdigest()
    sample = "" if len(names) == OFFICIAL_IMAGES else f" (sample of {len(names):,} images)"
    data = splits_of(config, Split(images, labels), sizes, sha256, classes=labels.shape[1])
    return replace(data, title=config.title + sample)


def _find_files(folder: Path, download: bool) -> None:
    """Make sure that all files are in ``folder``. Those that are missing are downloaded if ``download`` is true.

    Raises :class:`UserError` if files are missing and could not be downloaded. It says how to put them there.
    """
    if not (missing := _missing(folder)):
        return
    if not download:
        raise UserError(f"CelebA is not in {folder} (missing: {', '.join(missing)})")
    with locked(folder / ".lock"):
        missing = _missing(folder)
        try:
            _download(folder, missing)
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            log.info("CelebA: the download by torchvision failed: %s", reason)
            raise UserError(
                f"Could not obtain CelebA. Tried: files in {folder} (missing: {', '.join(missing)}); download by "
                f"torchvision ({reason}). To install it manually, download these files from {HOME_PAGE} (aligned and "
                f"cropped images, attributes, partitions) and put them into {folder}"
            ) from error


def _missing(folder: Path) -> list[str]:
    missing = [name for name in (ARCHIVE, PARTITION, ATTRIBUTES) if not (folder / name).is_file()]
    if ARCHIVE in missing and (folder / Path(ARCHIVE).stem).is_dir():
        missing.remove(ARCHIVE)
    return missing


def _download(folder: Path, missing: Sequence[str]) -> None:
    """Download the missing files with torchvision, which verifies their MD5, then move them into ``folder``."""
    from torchvision.datasets import CelebA
    from torchvision.datasets.utils import download_file_from_google_drive

    for file_id, md5, name in CelebA.file_list:
        if name in missing:
            with tempfile.TemporaryDirectory(dir=folder) as partial:
                download_file_from_google_drive(file_id, partial, name, md5)
                (Path(partial) / name).replace(folder / name)
            log.info("CelebA: downloaded %s by torchvision, MD5 verified", name)


def _open_images(folder: Path, names: Sequence[str]) -> tuple[Callable[[str], bytes], str]:
    """A function that reads an image file by its name, and a fingerprint of all files.

    The fingerprint is the SHA-256 of names, sizes and CRC-32s in the archive's directory, or of names, sizes and times
    in an unpacked folder. This avoids reading 1.4 GB at every start.
    """
    digest = hashlib.sha256()
    if (folder / ARCHIVE).is_file():
        try:
            archive = zipfile.ZipFile(folder / ARCHIVE)
        except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
            raise UserError(f"{folder / ARCHIVE} is damaged or incomplete: {error}") from error
        members = {Path(info.filename).name: info for info in archive.infolist() if not info.is_dir()}
        _all_there(names, members.keys(), folder / ARCHIVE)
        for name in names:
            if members[name].file_size > LARGEST_FILE:
                raise UserError(
                    f"{name} in {folder / ARCHIVE} has {members[name].file_size} bytes, too many for a face"
                )
            digest.update(f"{name} {members[name].file_size} {members[name].CRC}\n".encode())
        return lambda name: archive.read(members[name]), digest.hexdigest()
    unpacked = folder / Path(ARCHIVE).stem
    files = {path.name: path for path in unpacked.iterdir()}
    _all_there(names, files.keys(), unpacked)
    for name in names:
        status = files[name].stat()
        digest.update(f"{name} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}\n".encode())
    return lambda name: files[name].read_bytes(), digest.hexdigest()


def _all_there(names: Sequence[str], present: object, where: Path) -> None:
    missing = [name for name in names if name not in present]  # type: ignore[operator]
    if missing:
        shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise UserError(f"{len(missing)} images listed in {PARTITION} are not in {where}: {shown}")


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """The number and the words of every line that is not blank.

    A byte-order mark is ignored, and tabs separate words, too.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as UTF-8 text: {error}") from error
    if any("\0" in line for line in lines):
        raise UserError(f"{path} cannot be read as UTF-8 text: it contains null bytes")
    return [(number, line.split()) for number, line in enumerate(lines, 1) if line.strip()]


def _read_partition(path: Path) -> dict[str, int]:
    """File name -> 0 (training), 1 (validation) or 2 (test)."""
    splits: dict[str, int] = {}
    for number, words in _lines(path):
        if len(words) != 2 or words[1] not in ("0", "1", "2"):
            got = " ".join(words)[:60]
            raise UserError(f"{path}, line {number}: expected a file name and 0, 1 or 2, got {got!r}")
        if words[0] in splits:
            raise UserError(f"{path}, line {number}: {words[0]} is listed twice")
        splits[words[0]] = int(words[1])
    if set(splits.values()) != {0, 1, 2}:
        raise UserError(f"{path} leaves training, validation or test without images")
    return splits


def _read_attributes(path: Path, names: Sequence[str]) -> torch.Tensor:
    """Attributes (n, attributes) in {0, 1} of the images ``names``, int64. In the file, -1 means absent."""
    lines = _lines(path)
    count = len(lines[1][1]) if len(lines) > 1 else 0
    of_image = {}
    for number, (name, *signs) in lines[2:]:
        if len(signs) != count or not set(signs) <= {"1", "-1"}:
            raise UserError(f"{path}, line {number}: expected {count} attributes of {name[:60]}, each 1 or -1")
        of_image[name] = signs
    _all_there(names, of_image.keys(), path)
    values = np.array([of_image[name] for name in names]) == "1"
    return torch.from_numpy(values.astype(np.int64))
