"""Publication of records: which files of a run are copied to ``results/reference``."""

from __future__ import annotations

from pathlib import Path

from benchmarks.errors import UserError
from benchmarks.files import write_atomically
from benchmarks.records.identity import configuration_hash, identity
from benchmarks.records.record import (
    CODES_FILE,
    COMPRESSION_FILE,
    DENOISED_FILE,
    FACTOR_LINES_FILE,
    FACTOR_LINES_TABLE,
    HISTORY_FILE,
    RECORD_FILE,
    ROC_FILE,
    Record,
    read_records,
)

# Files that are published with every record. Weights and checkpoints are not published.
PUBLISHED_FILES = (HISTORY_FILE,)

# Files that are published only for the lowest seed, which is the one that reports show.
PICTURES = (
    "samples.png", "reconstructions.png", "plane.png", "traversals.png", "interpolations.png", CODES_FILE,
    DENOISED_FILE, COMPRESSION_FILE, ROC_FILE, FACTOR_LINES_FILE, FACTOR_LINES_TABLE,
)  # fmt: skip


def publish(results: Path, source: Path) -> tuple[list[str], list[str]]:
    """Copy every successful record of ``source``/runs, with its history, to ``results``/reference.

    Pictures are copied only for the lowest seed of each configuration. Returns the run ids that were copied, and a
    message for each file that is left out. Raises :class:`UserError` if a file cannot be copied.
    """
    # Of the local records alone: a damaged one must not be copied because a reference record has the same run id.
    records, messages = read_records(source, ("runs",))
    records = [record for record in records if record.status == "ok"]
    lowest: dict[str, Record] = {}
    for record in sorted(records, key=lambda r: r.seed):
        lowest.setdefault(seedless(record), record)
    shown = {record.run_id for record in lowest.values()}
    published = []
    for record in records:
        runs, own = source / "runs", f"{record.run_id}/{RECORD_FILE}"
        if outside := _outside(runs, own):
            messages.append(outside)
            continue
        # The record is copied last, so that an interrupted copy is not taken for a published run.
        for name in (*PUBLISHED_FILES, *(PICTURES if record.run_id in shown else ()), RECORD_FILE):
            messages += _copy(runs, results / "reference", f"{record.run_id}/{name}")
        published.append(record.run_id)
    return published, messages


def seedless(record: Record) -> str:
    """A hash of the configuration and the data without the seed: equal for the seeds of one cell, and for no others."""
    return configuration_hash({"config": {**identity(record.config), "seed": None}, "data": record.data_sha256})


def _outside(runs: Path, name: str) -> str | None:
    """A message if a file is not one of this folder: a link could publish a file from outside the results folder."""
    path = runs / name
    if path.is_file() and path.resolve().is_relative_to(runs.resolve()):
        return None
    return f"left out: {path} is not a file of this folder"


def _copy(runs: Path, reference: Path, name: str) -> list[str]:
    """Copy one file if it exists, and return messages about a file that is left out."""
    path = runs / name
    try:
        if not path.exists():
            return []
        if outside := _outside(runs, name):
            return [outside]
        write_atomically(reference / name, path.read_bytes())
    except OSError as error:
        raise UserError(f"cannot copy {path} to {(reference / name).parent}: {error.strerror}") from None
    return []
