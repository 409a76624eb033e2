"""The record: what one cell (variant x dataset x profile x seed) leaves behind, and how it is read back.

A record is written once, atomically, when a cell ends, well or badly. Nothing here imports torch: reports are
made from records alone, on machines that need not have it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from benchmarks.files import write_atomically

SCHEMA = 1
STATUSES = ("ok", "failed", "diverged")
RECORD_FILE = "record.json"
HISTORY_FILE = "history.csv"
CODES_FILE = "codes.csv"
MISSING_DATA_FILE = "missing_data.json"
# Below a results folder: a results folder of its own, for the records of paper targets, which no board shows.
REPRODUCTION = "reproduction"


class RecordError(ValueError):
    """A record that cannot be trusted: not JSON, another schema, or fields missing or malformed."""


@dataclass(frozen=True)
class Record:
    """One cell's outcome. Likelihoods are in nats per image; every metric is in exactly one of ``metrics``
    (a finite number) and ``not_applicable`` (the reason why there is none)."""

    run_id: str
    status: str  # one of STATUSES
    variant: str
    dataset: str
    profile: str
    seed: int
    config: dict[str, Any]  # the resolved configuration
    finished: str  # UTC, ISO 8601 to the second
    metrics: dict[str, float] = field(default_factory=dict)
    not_applicable: dict[str, str] = field(default_factory=dict)
    # train_seconds, train_images_per_second, eval_seconds, total_seconds
    timing: dict[str, float] = field(default_factory=dict)
    parameters: int = 0
    importance_samples: int = 0
    evaluated_images: int = 0
    # commit, dirty, python, torch, device, threads, data_sha256
    environment: dict[str, Any] = field(default_factory=dict)
    # Facts that are not metrics, such as the feature network's accuracy or which features a loss used.
    details: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    error: dict[str, str] | None = None  # type, message, traceback
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        _validate(self)


def _validate(record: Record) -> None:
    for name, kind in (
        ("run_id", str), ("variant", str), ("dataset", str), ("profile", str), ("finished", str), ("seed", int),
        ("config", dict), ("metrics", dict), ("not_applicable", dict), ("timing", dict), ("parameters", int),
        ("importance_samples", int), ("evaluated_images", int), ("environment", dict), ("details", dict),
        ("warnings", list), ("schema", int),
    ):  # fmt: skip
        if not isinstance(getattr(record, name), kind):
            raise RecordError(f"field {name!r} must be {kind.__name__}, got {getattr(record, name)!r:.80}")
    if record.schema != SCHEMA:
        raise RecordError(f"schema {record.schema} is not {SCHEMA}, the one this version reads")
    if record.status not in STATUSES:
        raise RecordError(f"status {record.status!r:.80} is not one of {', '.join(STATUSES)}")
    for group in (record.metrics, record.timing):
        for name, value in group.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise RecordError(f"metric {name!r} must be a finite number, got {value!r:.80}")
    for name, reason in record.not_applicable.items():
        if not isinstance(reason, str) or not reason:
            raise RecordError(f"not_applicable[{name!r}] must give a reason, got {reason!r:.80}")
    both = sorted(record.metrics.keys() & record.not_applicable.keys())
    if both:
        raise RecordError(f"both a number and not applicable: {', '.join(both)}")
    if (record.error is None) != (record.status == "ok"):
        raise RecordError(f"status {record.status!r} and error {record.error!r:.80} contradict each other")


def configuration_hash(config: Mapping[str, Any]) -> str:
    """Eight hexadecimal digits over the part of a resolved configuration that affects the result."""
    canonical = json.dumps(config, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:8]


def write_record(run_folder: Path, record: Record) -> Path:
    """Write ``record`` to ``run_folder``/record.json, atomically and with sorted keys."""
    path = run_folder / RECORD_FILE
    text = json.dumps(asdict(record), indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
    write_atomically(path, (text + "\n").encode())
    return path


def read_record(path: Path) -> Record:
    """Read one record.json. Raises :class:`RecordError` where it cannot be trusted, ``OSError`` where it
    cannot be opened."""
    try:
        data = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path}: not JSON ({error})") from None
    if not isinstance(data, dict):
        raise RecordError(f"{path}: expected an object, got {type(data).__name__}")
    known = {f.name for f in fields(Record)}
    schema = data.get("schema")
    if schema != SCHEMA:
        raise RecordError(f"{path}: schema {schema!r:.40} is not {SCHEMA}, the one this version reads")
    unknown = sorted(data.keys() - known)
    if unknown:
        raise RecordError(f"{path}: unknown fields {', '.join(unknown)[:200]}")
    try:
        return Record(**data)
    except (TypeError, RecordError) as error:
        raise RecordError(f"{path}: {error}") from None


def record_paths(results: Path) -> Iterator[Path]:
    """Paths of all records below a results folder: the committed reference ones first, then local ones."""
    for part in ("reference", "runs"):
        yield from sorted((results / part).glob(f"*/{RECORD_FILE}"))


def read_records(results: Path) -> tuple[list[Record], list[str]]:
    """All records below ``results`` in run-id order, a local one in place of a reference one of the same id,
    and one message for each file that was set aside.

    A file that does not parse is renamed to ``record.json.unreadable``, so that its cell runs again and the
    bytes stay to be looked at; where renaming is not allowed it is left and only reported.
    """
    records: dict[str, Record] = {}
    messages: list[str] = []
    for path in record_paths(results):
        try:
            record = read_record(path)
        except RecordError as error:
            messages.append(f"set aside: {error}{_set_aside(path)}")
            continue
        records[record.run_id] = record
    return [records[run_id] for run_id in sorted(records)], messages


def _set_aside(path: Path) -> str:
    target = path.with_name(path.name + ".unreadable")
    try:
        path.rename(target)
    except OSError:
        return " (left in place: the folder is not writable)"
    return f" (now {target.name})"


def write_missing_data(results: Path, missing: Mapping[str, str], present: Iterable[str]) -> None:
    """Note beside the local runs why each ``missing`` data set could not be had; forget those now ``present``."""
    kept = {name: why for name, why in read_missing_data(results).items() if name not in set(present)} | dict(missing)
    path = results / "runs" / MISSING_DATA_FILE
    if kept:
        write_atomically(path, (json.dumps(kept, indent=2, sort_keys=True) + "\n").encode())
    else:
        path.unlink(missing_ok=True)


def read_missing_data(results: Path) -> dict[str, str]:
    """Data set -> why it could not be had when it was last asked for."""
    try:
        noted = json.loads((results / "runs" / MISSING_DATA_FILE).read_bytes())
    except (OSError, ValueError):
        return {}
    return {str(name): str(why) for name, why in noted.items()} if isinstance(noted, dict) else {}


def run_folder(results: Path, run_id: str) -> Path:
    """Where the files beside a record lie: the local run's folder if it has one, else the reference one's."""
    local = results / "runs" / run_id
    return local if (local / RECORD_FILE).exists() else results / "reference" / run_id


def select(records: Iterable[Record], **wanted: Any) -> list[Record]:
    """Records whose fields equal the given values, e.g. ``select(records, dataset="mnist", status="ok")``."""
    return [r for r in records if all(getattr(r, name) == value for name, value in wanted.items())]
