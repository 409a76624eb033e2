"""Committing records: which of a run's files go to ``results/reference``."""

from __future__ import annotations

from pathlib import Path

from benchmarks.files import write_atomically
from benchmarks.records.record import CODES_FILE, HISTORY_FILE, RECORD_FILE, Record, configuration_hash, read_records

# What a committed record brings along; weights and checkpoints stay behind.
PUBLISHED_FILES = (RECORD_FILE, HISTORY_FILE)


# Reports show the lowest seed's.
PICTURES = ("samples.png", "reconstructions.png", "plane.png", "traversals.png", "interpolations.png", CODES_FILE)


def publish(results: Path, source: Path) -> list[str]:
    """Copy every record of ``source``/runs that ended well, with its history, to ``results``/reference, and pictures of
    the lowest seed of each cell; the run ids copied."""
    records = [record for record in read_records(source)[0] if record.status == "ok"]
    lowest: dict[str, Record] = {}
    for record in sorted(records, key=lambda r: r.seed):
        lowest.setdefault(configuration_hash({**record.config, "seed": None}), record)
    shown = {record.run_id for record in lowest.values()}
    published = []
    for record in records:
        folder = source / "runs" / record.run_id
        if not (folder / RECORD_FILE).exists():
            continue
        for name in (*PUBLISHED_FILES, *(PICTURES if record.run_id in shown else ())):
            if (folder / name).exists():
                write_atomically(results / "reference" / record.run_id / name, (folder / name).read_bytes())
        published.append(record.run_id)
    return published
