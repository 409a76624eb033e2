"""Factors of variation of a user's own images, read from columns of a CSV file or of an array."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.data.dataset import Factor
from benchmarks.errors import UserError
from benchmarks.wording import counted

log = logging.getLogger(__name__)

# The column of a CSV file that has the paths of the images.
FILE = "file"
LONGEST_NAME = 60
# A factor must have at least this many images per value on average, because scores estimate from them how codes depend
# on the value.
IMAGES_A_VALUE = 10
# Largest accepted size of a CSV file in bytes. A table of factors is smaller.
LARGEST_FILE = 2**30


def read_table(path: Path, names: Sequence[str]) -> tuple[Tensor, tuple[Factor, ...]]:
    """Read the factors of the images ``names`` from a CSV file.

    The file has a column "file" and a column for each factor. Returns what :func:`as_factors` returns. Raises
    :class:`UserError` for an image without a row, an empty cell, and any other malformed file.
    """
    header, rows = _rows(path)
    place = header.index(FILE)
    of_image: dict[str, tuple[int, list[str]]] = {}
    for number, row in rows:
        if len(row) != len(header):
            raise UserError(f"{path}, line {number}: expected {len(header)} columns, got {len(row)}")
        name = row[place].strip()
        if name in of_image:
            raise UserError(f"{path}, line {number}: {name[:80]} is listed twice")
        if "" in (cells := [cell.strip() for cell in row]):
            raise UserError(f"{path}, line {number}: column {header[cells.index('')]!r} is empty")
        of_image[name] = number, [cell for column, cell in enumerate(cells) if column != place]
    missing = [name for name in names if name not in of_image]
    if missing:
        shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise UserError(f"{path} has no row for {len(missing)} images: {shown}")
    if extra := len(of_image) - len(set(names)):
        log.warning("%s: ignoring %d rows of images that are not there", path, extra)
    lines, cells_of = zip(*(of_image[name] for name in names), strict=True)
    return as_factors(np.array(cells_of), len(names), [name for name in header if name != FILE], str(path), lines)


def _rows(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The names of the columns, and every further non-empty row with its line number."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise UserError(f"dataset.factors: {path} is larger than {LARGEST_FILE // 2**20} MiB")
        text = path.read_text(encoding="utf-8-sig")
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except OSError as error:
        raise UserError(f"dataset.factors: {path} cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"dataset.factors: {path} cannot be read as a CSV file in UTF-8: {error}") from error
    header = [cell.strip() for cell in rows[0][1]] if rows else []
    if header.count(FILE) != 1 or len(header) < 2:
        raise UserError(
            f"dataset.factors: the first line of {path} must name a column {FILE!r} and a column for each factor, got "
            f"{','.join(header)[:80]!r}"
        )
    return header, rows[1:]


def as_factors(
    array: np.ndarray,
    count: int,
    names: Sequence[str] | None,
    where: str,
    lines: Sequence[int] | None = None,
    read_numbers: bool = True,
) -> tuple[Tensor, tuple[Factor, ...]]:
    """Convert the columns of an array (n, factors) of numbers or texts to factors.

    Returns the index of each image's value of each factor, int64 (n, factors), and the factors. If all texts of a
    column are numbers, its values are numbers and ordered, unless ``read_numbers`` is false. A column with a single
    value is left out. ``count`` is the number of images, ``lines`` the line of each row in a text file.

    Raises :class:`UserError` for other arrays, a value that is not finite, a column of numbers with fewer texts, names
    that are invalid or not distinct, and a factor with more than one value per ten images.
    """
    columns = array[:, None] if array.ndim == 1 else array
    if columns.ndim != 2 or 0 in columns.shape or columns.dtype.kind not in "iufbU":
        raise UserError(
            f"factors of {where} must be numbers or texts, (n,) or (n, factors); got {array.dtype} of shape "
            f"{array.shape}"
        )
    if len(columns) != count:
        raise UserError(f"{where} has {count} images and the factors of {len(columns)}")
    names = _checked(names, columns.shape[1], where)
    factors, which = [], []
    for name, column in zip(names, columns.T, strict=True):
        literal = column.dtype.kind == "U" and not read_numbers
        numbers = column if literal else _as_numbers(column, name, where, lines)
        values, indices = np.unique(numbers, return_inverse=True)
        if len(values) == 1:
            log.info("%s: factor %r has one value and is left out", where, name)
            continue
        if len(values) * IMAGES_A_VALUE > count:
            raise UserError(
                f"{where}: factor {name!r} has {len(values):,} values among {count:,} images; there must be "
                f"{IMAGES_A_VALUE} images for each value: round them, or leave the factor out"
            )
        factors.append(Factor(name, tuple(values.tolist())))
        which.append(indices)
    if not factors:
        raise UserError(f"{where}: no factor has more than one value")
    return torch.from_numpy(np.stack(which, 1).astype(np.int64)), tuple(factors)


def _as_numbers(column: np.ndarray, name: str, where: str, lines: Sequence[int] | None) -> np.ndarray:
    """A column as float64; unchanged if at least half of its values are not numbers.

    Raises :class:`UserError` if fewer values are not numbers, which are most likely typing errors.
    """
    try:
        numbers = column.astype(np.float64)
    except ValueError:
        texts = [row for row, text in enumerate(column.tolist()) if not _is_number(text)]
        if 2 * len(texts) >= len(column):
            return column
        row = texts[0] if lines is None else min(texts, key=lines.__getitem__)
        place = f"row {row + 1}" if lines is None else f"line {lines[row]}"
        more = f" and {counted(len(texts) - 1, 'other text')}" if len(texts) > 1 else ""
        raise UserError(
            f"{where}, {place}: factor {name!r} has {str(column[row])[:80]!r}{more} among numbers: correct it, or use "
            "texts for all values"
        ) from None
    if not np.isfinite(numbers).all():
        raise UserError(f"{where}: factor {name!r} holds values that are NaN or infinite")
    return numbers


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _checked(names: Sequence[str] | None, count: int, where: str) -> list[str]:
    """The names of ``count`` factors, by default "factor 1", "factor 2", ...

    Raises :class:`UserError` for names that are invalid or not distinct.
    """
    if names is None:
        return [f"factor {number}" for number in range(1, count + 1)]
    found = [str(name).strip() for name in names]
    for name in found:
        if not name or len(name) > LONGEST_NAME or not name.isprintable():
            raise UserError(
                f"{where}: a factor must have a name of up to {LONGEST_NAME} printable characters, got {name!r:.80}"
            )
    if len(found) != count or len(set(found)) != count:
        raise UserError(f"{where}: {count} factors must have as many different names, got {', '.join(found)[:200]!r}")
    return found


def digest_of(factors: Sequence[Factor], which: Tensor) -> bytes:
    """Bytes for the digest of a data set: everything about its factors that affects measurements."""
    return repr([(factor.name, factor.values) for factor in factors]).encode() + which.numpy().tobytes()
