"""Export of all records as one tidy table with one row per cell, for pandas and similar tools."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.errors import UserError
from benchmarks.files import write_atomically
from benchmarks.records.record import Record, read_records

FIELDS = ("run_id", "status", "variant", "dataset", "profile", "seed", "finished", "parameters", "importance_samples",
          "evaluated_images")  # fmt: skip


def write_table(results: Path, csv: Path | None, parquet: Path | None) -> list[str]:
    """Write the records below ``results`` to the given files ("-": CSV to the terminal).

    Returns messages about records that are left out. Raises :class:`UserError` if the package for Parquet is missing or
    a file cannot be written.
    """
    records, messages = read_records(results)
    table = frame(records)
    if csv == Path("-"):
        with _writing("the table"):
            table.to_csv(sys.stdout, index=False, lineterminator="\n")
    elif csv is not None:
        with _writing(csv):
            write_atomically(csv, table.to_csv(index=False, lineterminator="\n").encode())
    if parquet is not None:
        try:
            content = table.to_parquet(index=False)
        except ImportError:
            raise UserError("Parquet needs a package that is not installed: pip install pyarrow") from None
        with _writing(parquet):
            write_atomically(parquet, content)
    return messages


@contextlib.contextmanager
def _writing(place: Path | str) -> Iterator[None]:
    """Turn an ``OSError`` of the block into a :class:`UserError` that names the ``place``."""
    try:
        yield
    except BrokenPipeError:
        # The reader of the terminal's output, such as `head`, has ended.
        raise
    except OSError as error:
        raise UserError(f"cannot write {place}: {error.strerror}") from None


def frame(records: list[Record]) -> pd.DataFrame:
    """A table with one row per record.

    The columns are its fields, then ``metrics.*``, ``timing.*``, ``environment.*``, ``config.*`` and ``error.*``. A
    number that a cell does not have is missing, never 0.
    """
    rows = []
    for record in records:
        row: dict[str, Any] = {name: getattr(record, name) for name in FIELDS}
        for part in ("metrics", "timing", "environment", "config", "error"):
            row |= _flat(part, getattr(record, part) or {})
        rows.append(row)
    table = pd.DataFrame(rows)
    own = [column for column in table.columns if "." not in column]
    return table[[*own, *sorted(column for column in table.columns if "." in column)]]


def _flat(prefix: str, value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return {name: entry for key in value for name, entry in _flat(f"{prefix}.{key}", value[key]).items()}
    # A list, such as a network's widths, has no column type of its own and becomes text.
    return {prefix: str(value) if isinstance(value, list | tuple) else value}
