"""Read the pictures and tables beside a record. A file that cannot be used is left out, with a message."""

from __future__ import annotations

import io
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from benchmarks.records.checks import LARGEST
from benchmarks.records.record import run_folder
from benchmarks.reporting.rows import Row

MOST_BYTES = 50_000_000
MOST_PIXELS = 25_000_000
_PNG_START, _PNG_END = b"\x89PNG\r\n\x1a\n", b"\x00\x00\x00\x00IEND\xaeB`\x82"


class _UnusableError(Exception):
    """The reason why a file is left out."""


class SideFiles:
    """The files beside the records of a results folder. ``messages`` has one line for each file that was left out."""

    def __init__(self, results: Path) -> None:
        self.results = results
        self.messages: list[str] = []

    def picture(self, run_id: str, name: str) -> np.ndarray | None:
        """A picture as (height, width) or (height, width, channels); None if it is missing or cannot be used."""
        data = self._bytes(run_id, name)
        if data is None:
            return None
        try:
            return _pixels(data)
        except _UnusableError as reason:
            self._leave_out(run_id, name, str(reason))
            return None

    def with_picture(self, rows: Iterable[Row], name: str) -> list[Row]:
        """The rows whose lowest seed has a picture with this file name."""
        return [row for row in rows if self.picture(row.first.run_id, name) is not None]

    def table(
        self,
        run_id: str,
        name: str,
        columns: Sequence[str],
        needed: int = 1,
        words: Mapping[str, Collection[str]] | None = None,
    ) -> pd.DataFrame | None:
        """A CSV file as a table; None if the file is missing or cannot be used.

        The table has those of ``columns`` that the file has, as numbers. Numbers that are not finite or exceed
        ``LARGEST`` become missing values. The first ``needed`` of ``columns`` are required. ``words`` maps columns of
        text, which are also required, to the values that they may contain.
        """
        data = self._bytes(run_id, name)
        if data is None:
            return None
        try:
            return _numbers(data, columns, needed, words or {})
        except _UnusableError as reason:
            self._leave_out(run_id, name, str(reason))
            return None

    def _bytes(self, run_id: str, name: str) -> bytes | None:
        reason = None
        try:
            path = run_folder(self.results, run_id) / name
            if path.is_symlink():
                reason = "a link"
            elif not path.exists():
                return None
            elif not path.is_file():
                reason = "not a file"
            elif path.stat().st_size > MOST_BYTES:
                reason = f"larger than {MOST_BYTES // 1_000_000} MB"
            else:
                return path.read_bytes()
        except OSError as error:
            reason = f"cannot be read: {error.strerror}"
        self._leave_out(run_id, name, reason)
        return None

    def _leave_out(self, run_id: str, name: str, reason: str) -> None:
        message = f"left out: {name} of {run_id}: {reason}"
        if message not in self.messages:
            self.messages.append(message)


def _pixels(data: bytes) -> np.ndarray:
    if not data:
        raise _UnusableError("empty")
    if not data.startswith(_PNG_START):
        raise _UnusableError("not a PNG")
    if not data.endswith(_PNG_END):
        raise _UnusableError("cut: its end is missing")
    try:
        with warnings.catch_warnings():
            # Pillow warns about pictures with many pixels. The check below raises an error for them.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
                # Verify the checksums. After this call, the picture must be opened again to be read.
                image.verify()
            # Only PNG is allowed: for some other formats, Pillow starts external programs.
            with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise _UnusableError(f"more than {MOST_PIXELS // 1_000_000} million pixels")
                return np.asarray(image if image.mode in ("L", "RGB", "RGBA") else image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, MemoryError, EOFError, Image.DecompressionBombError) as error:
        raise _UnusableError(f"damaged ({' '.join(str(error).split())[:80]})") from None


def _numbers(data: bytes, columns: Sequence[str], needed: int, words: Mapping[str, Collection[str]]) -> pd.DataFrame:
    if not data.strip():
        raise _UnusableError("empty")
    # The suite ends every line with a line break. A last line without one may have lost digits.
    if not data.endswith(b"\n"):
        raise _UnusableError("cut: its last line does not end")
    try:
        table = pd.read_csv(io.BytesIO(data), encoding="utf-8", index_col=False)
    except (ValueError, OverflowError, MemoryError, RecursionError) as error:
        raise _UnusableError(f"not a table ({' '.join(str(error).split())[:80]})") from None
    lacking = [name for name in (*words, *columns[:needed]) if name not in table]
    if lacking:
        raise _UnusableError(f"has no column {lacking[0]!r}")
    numbers = {}
    for name, known in words.items():
        if not table[name].isin(list(known)).all():
            raise _UnusableError(f"column {name!r} holds something else than {', '.join(known)}")
        numbers[name] = table[name]
    for name in (column for column in columns if column in table):
        try:
            found = pd.to_numeric(table[name]).astype(float)
        except (ValueError, TypeError, OverflowError):
            raise _UnusableError(f"column {name!r} holds something that is not a number") from None
        numbers[name] = found.where(found.abs() <= LARGEST)
    return pd.DataFrame(numbers)
