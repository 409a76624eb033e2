"""Records: the results of one cell (variant x dataset x profile x seed), and how they are written and read.

A record is written once, atomically, when a cell ends, whether it succeeded or not. Nothing here imports torch: reports
are made from records alone, on machines that may not have it.
"""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.files import write_atomically
from benchmarks.records.checks import (
    LONGEST_RUN_ID,
    all_printable,
    check_name,
    check_number,
    check_plain,
    check_text,
    check_whole,
    in_one_line,
    printable,
)
from benchmarks.records.identity import configuration_hash as configuration_hash
from benchmarks.records.identity import is_run_id, run_id

SCHEMA = 1
# Folders of records below a results folder: the committed reference records, and the local ones.
PARTS = ("reference", "runs")
STATUSES = ("ok", "failed", "diverged")
RECORD_FILE = "record.json"
HISTORY_FILE = "history.csv"
CODES_FILE = "codes.csv"
DENOISED_FILE = "denoised.png"
COMPRESSION_FILE = "compression.csv"
ROC_FILE = "roc.csv"
# A picture of latent traversals, along the dimensions that know most of a factor, and a table of these dimensions.
FACTOR_LINES_FILE = "factor_lines.png"
FACTOR_LINES_TABLE = "factor_lines.csv"
MISSING_DATA_FILE = "missing_data.json"
# Sub-folder of a results folder, for the records of paper targets. It is a results folder itself, and no board shows
# it.
REPRODUCTION = "reproduction"
# The sections of a resolved configuration, which also has "profile" and "seed".
SECTIONS = ("variant", "network", "dataset", "training", "evaluation")
ERROR_PARTS = ("type", "message", "traceback")
UNKNOWN_DATA = "unknown"
# The detail that says how busy the machine was.
LOAD = "load"
# The detail with the digest of a variant's code, for a variant of the user's own.
OWN_CODE = "variant_code_sha256"
# The detail with the (channels, height, width) of an image. Records of earlier versions do not have it.
IMAGE_SHAPE = "image_shape"
# The detail about disentanglement scores: the names of the factors, the numbers of images and dimensions, "restarts",
# which is the number of random splits, and "spread", score -> standard deviation over splits.
DISENTANGLEMENT = "disentanglement"
# The detail of records whose KID is a mean over random blocks, not over blocks in the order of the images.
KID_BLOCKS = "kid_blocks"
ORDERED_BLOCKS = (
    "measured over blocks of images in the order of the test set, by an earlier version: on MNIST, whose order is not "
    "random, and for conditional models this is biased; run it again"
)
# Prefix of details that end with the name of a family of metrics, and hold reference values for its numbers.
REFERENCE = "reference_"
# The detail with numbers measured during training: {"objective@5": 14.8} after 5 epochs, or 5 steps if the budget is in
# steps.
MEASURED = "measured"
# Largest accepted size of a record in bytes. A record has about 10 kB; one of this size is read in a fraction of a
# second.
LARGEST_FILE = 2**22
MOST = 10**15
# Largest accepted side of an image in pixels. A model for larger images would not fit into memory.
LONGEST_SIDE = 2**16


class RecordError(ValueError):
    """A record that cannot be trusted: not JSON, another schema, or fields missing or malformed."""


class NewerSchemaError(RecordError):
    """A record that a later version of the suite wrote; nothing is wrong with it."""


@dataclass(frozen=True)
class Record:
    """The outcome of one run.

    Likelihoods are in nats per image. Every metric is in exactly one of ``metrics`` (a finite number) and
    ``not_applicable`` (the reason why there is none).
    """

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
    error: dict[str, str] | None = None  # ERROR_PARTS
    schema: int = SCHEMA
    # SHA-256 of all other fields, set by write_record. None in records of versions that wrote no digest.
    digest: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        try:
            _check(self)
        except RecordError:
            raise
        except ValueError as error:
            raise RecordError(str(error)) from None

    @property
    def data_sha256(self) -> str:
        """The digest of the data that the run used, or ``UNKNOWN_DATA``."""
        return str(self.environment.get("data_sha256") or UNKNOWN_DATA)


def _check(record: Record) -> None:
    """Raise ``ValueError`` unless every field has the type that its readers rely on, and is within bounds."""
    for name, kind in (
        ("config", dict), ("metrics", dict), ("not_applicable", dict), ("timing", dict), ("environment", dict),
        ("details", dict), ("warnings", list),
    ):  # fmt: skip
        if not isinstance(getattr(record, name), kind):
            raise RecordError(f"field {name!r} must be {kind.__name__}, got {getattr(record, name)!r:.80}")
    for name in ("run_id", "variant", "dataset", "profile", "finished"):
        check_text(name, getattr(record, name))
    if record.schema != SCHEMA:
        raise RecordError(f"schema {record.schema!r:.40} is not {SCHEMA}, the one this version reads")
    if record.status not in STATUSES:
        raise RecordError(f"status {record.status!r:.80} is not one of {', '.join(STATUSES)}")
    check_whole("seed", record.seed, 0, 2**32 - 1)
    for name in ("parameters", "importance_samples", "evaluated_images"):
        check_whole(name, getattr(record, name), 0, MOST)
    try:
        datetime.fromisoformat(record.finished)
    except ValueError:
        raise RecordError(f"finished {record.finished!r:.80} is not a time such as 2026-01-31T12:00:00+00:00") from None
    for group in ("metrics", "timing"):
        for name, value in getattr(record, group).items():
            check_name(f"a name in {group}", name)
            check_number(f"{group}[{name!r}]", value)
    for name, reason in record.not_applicable.items():
        check_name("a name in not_applicable", name)
        check_text(f"not_applicable[{name!r}]", reason)
        if not reason:
            raise RecordError(f"not_applicable[{name!r}] must give a reason")
    both = sorted(record.metrics.keys() & record.not_applicable.keys())
    if both:
        raise RecordError(f"both a number and not applicable: {', '.join(both)}")
    for warning in record.warnings:
        check_text("a warning", warning)
    if (record.error is None) != (record.status == "ok"):
        raise RecordError(f"status {record.status!r} and error {record.error!r:.80} contradict each other")
    if record.error is not None:
        if not isinstance(record.error, dict) or record.error.keys() != set(ERROR_PARTS):
            raise RecordError(f"error must have {', '.join(ERROR_PARTS)}, got {record.error!r:.80}")
        for name, text in record.error.items():
            check_text(f"error[{name!r}]", text)
    _check_config(record.config)
    _check_facts(record)


def _check_config(config: dict[str, Any]) -> None:
    check_plain("config", config)
    for section in SECTIONS:
        if not isinstance(config.get(section, {}), dict):
            raise RecordError(f"config.{section} must be dict, got {config[section]!r:.80}")
    for name in ("epochs", "steps"):
        check_whole(f"config.training.{name}", config.get("training", {}).get(name, 1), 1, MOST)
    for name in ("title", "name", "labels", "path"):
        if not isinstance(config.get("dataset", {}).get(name, ""), str | None):
            raise RecordError(f"config.dataset.{name} must be a text, got {config['dataset'][name]!r:.80}")


def _check_facts(record: Record) -> None:
    """Check ``environment`` and ``details``.

    ``environment`` holds single values. ``details`` may hold any plain data, but entries that reports use are checked.
    """
    check_plain("details", record.details)
    for name, value in record.environment.items():
        if not isinstance(value, str | int | float | None):
            raise RecordError(f"environment[{name!r:.80}] must be a single value, got {value!r:.80}")
        check_plain(f"environment[{name!r:.80}]", value)
    overrides = record.details.get("overrides", [])
    if not isinstance(overrides, list) or not all(isinstance(text, str) for text in overrides):
        raise RecordError(f"details['overrides'] must be a list of texts, got {overrides!r:.80}")
    for name in ("data_title", "judge", "judge_digest", "teacher", OWN_CODE):
        if not isinstance(record.details.get(name), str | None):
            raise RecordError(f"details[{name!r}] must be a text, got {record.details[name]!r:.80}")
    shape = record.details.get(IMAGE_SHAPE)
    if shape is not None:
        if not isinstance(shape, list) or len(shape) != 3:
            raise RecordError(f"details[{IMAGE_SHAPE!r}] must be channels, height and width, got {shape!r:.80}")
        for side in shape:
            check_whole(f"details[{IMAGE_SHAPE!r}]", side, 1, LONGEST_SIDE)
    for name in ("judge_accuracy", "peak_memory_bytes", "information_images"):
        _check_measured(f"details[{name!r}]", record.details.get(name))
    references = [name for name in record.details if name.startswith(REFERENCE)]
    for name in ("limits_features", "limits_inception", LOAD, MEASURED, *references):
        numbers = record.details.get(name)
        if not isinstance(numbers, dict | None):
            raise RecordError(f"details[{name!r}] must be dict, got {numbers!r:.80}")
        for key, value in (numbers or {}).items():
            _check_measured(f"details[{name!r}][{key!r:.80}]", value)


def _check_measured(where: str, value: object) -> None:
    """Check a number. It may be None, which a run writes for a number that is out of range."""
    if value is not None:
        check_number(where, value)


def write_record(run_folder: Path, record: Record) -> Path:
    """Write ``record`` to ``run_folder``/record.json, atomically, with sorted keys and a digest of its content."""
    path = run_folder / RECORD_FILE
    # Converted to JSON and back, so that the digest is that of the data as they will be read.
    data = json.loads(json.dumps(asdict(record), allow_nan=False))
    data["digest"] = _digest(data)
    text = json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False)
    write_atomically(path, (text + "\n").encode())
    return path


def _digest(data: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in data.items() if key != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def read_record(path: Path) -> Record:
    """Read one record.json and check it. Later code relies on these checks and makes none of its own.

    The content must match its digest, every field must have the right type and be within bounds, and the record must be
    that of the run whose folder it is in. Invisible characters are removed from its texts.

    Raises :class:`RecordError` if the record cannot be trusted, ``OSError`` if it cannot be opened.
    """
    shown = in_one_line(str(path))
    data = _parsed(path, shown)
    schema = data.get("schema")
    if isinstance(schema, int) and schema > SCHEMA:
        raise NewerSchemaError(f"{shown}: schema {schema!r:.40} is not {SCHEMA}: a later version of the suite wrote it")
    if schema != SCHEMA:
        raise RecordError(f"{shown}: schema {schema!r:.40} is not {SCHEMA}, the one this version reads")
    unknown = sorted(data.keys() - {f.name for f in fields(Record)})
    if unknown:
        raise RecordError(f"{shown}: unknown fields {in_one_line(', '.join(unknown))[:200]}")
    try:
        # The digest is checked first. If the content was changed, an error about a single field would mislead.
        if data.get("digest") is not None and data["digest"] != _digest(data):
            raise RecordError("its content does not match its digest: it was changed after it was written")
        record = Record(**data)
        _check_identity(record, path.parent.name)
        clean = all_printable(data)
        return _without_biased_kid(record if clean == data else Record(**clean))
    except (TypeError, ValueError, RecursionError) as error:
        raise RecordError(f"{shown}: {in_one_line(str(error))}") from None


def _without_biased_kid(record: Record) -> Record:
    """The record without the KIDs that an earlier version measured with a bias; they have a reason in place of it."""
    dataset = record.config["dataset"]
    ordered = dataset.get("source") == "mnist" or dataset.get("condition", "none") != "none"
    biased = {name for name in record.metrics if name.startswith("kid_")}
    if KID_BLOCKS in record.details or not ordered or not biased:
        return record
    metrics = {name: value for name, value in record.metrics.items() if name not in biased}
    reasons = record.not_applicable | dict.fromkeys(biased, ORDERED_BLOCKS)
    return replace(record, metrics=metrics, not_applicable=reasons)


def _parsed(path: Path, shown: str) -> dict[str, Any]:
    about = path.stat()
    # Opening a pipe would block for ever.
    if not stat.S_ISREG(about.st_mode):
        raise RecordError(f"{shown}: not a file")
    if about.st_size > LARGEST_FILE:
        raise RecordError(f"{shown}: {about.st_size:,} bytes are too many for a record")
    try:
        data = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{shown}: not JSON ({error})") from None
    if not isinstance(data, dict):
        raise RecordError(f"{shown}: expected an object, got {type(data).__name__}")
    return data


def _check_identity(record: Record, folder: str) -> None:
    """Raise ``ValueError`` unless the record is complete, and its run id, configuration and folder agree."""
    config = record.config
    for name in (*SECTIONS, "profile", "seed"):
        if name not in config:
            raise RecordError(f"config has no {name}")
    for name in ("variant", "dataset", "profile"):
        check_name(name, getattr(record, name))
        noted = config["profile"] if name == "profile" else config[name].get("name")
        if noted != getattr(record, name):
            raise RecordError(f"its {name} is {getattr(record, name)!r:.80}, but {noted!r:.80} in its configuration")
    if config["seed"] != record.seed:
        raise RecordError(f"its seed is {record.seed}, but {config['seed']!r:.80} in its configuration")
    if len(record.run_id.encode()) > LONGEST_RUN_ID:
        raise RecordError(f"its run id is longer than {LONGEST_RUN_ID} bytes")
    if not is_run_id(record.run_id, config):
        raise RecordError(f"its run id is {record.run_id!r:.300}, but by its configuration {run_id(config)!r:.300}")
    if record.run_id != folder:
        raise RecordError(f"it is the record of {record.run_id!r:.300}, but is in the folder of another run")


def record_paths(results: Path, parts: Sequence[str] = PARTS) -> Iterator[Path]:
    """Paths of all records in these ``parts`` of a results folder."""
    for part in parts:
        yield from sorted((results / part).glob(f"*/{RECORD_FILE}"))


def read_records(results: Path, parts: Sequence[str] = PARTS) -> tuple[list[Record], list[str]]:
    """All records in these ``parts`` of ``results``, in the order of run ids, and a message for each that is left out.

    A local record replaces a reference record with the same id. A record is left out if it cannot be trusted or opened.
    Nothing is changed, because the folder may belong to somebody else. A sweep renames such a file when it runs its
    cell again.
    """
    records: dict[str, Record] = {}
    messages: list[str] = []
    for path in record_paths(results, parts):
        try:
            record = read_record(path)
        except RecordError as error:
            messages.append(f"left out: {error}")
        except OSError as error:
            messages.append(f"left out: {in_one_line(str(path))}: it cannot be opened ({error.strerror})")
        else:
            records[record.run_id] = record
    return [records[name] for name in sorted(records)], messages


def set_aside(path: Path, why: str) -> Path:
    """Rename a record to <name>.<why>, with a number if that exists, and return the new path.

    The bytes are kept for inspection. The record is in the user's own folder of runs.
    """
    target, number = path.with_name(f"{path.name}.{why}"), 1
    while target.exists():
        number += 1
        target = path.with_name(f"{path.name}.{why}-{number}")
    path.rename(target)
    return target


def write_missing_data(results: Path, missing: Mapping[str, str], present: Iterable[str]) -> None:
    """Save the reason why each ``missing`` data set could not be obtained, in the folder of local runs.

    The reasons for data sets that are ``present`` now are removed.
    """
    kept = {name: why for name, why in read_missing_data(results).items() if name not in set(present)} | dict(missing)
    path = results / "runs" / MISSING_DATA_FILE
    if kept:
        write_atomically(path, (json.dumps(kept, indent=2, sort_keys=True) + "\n").encode())
    else:
        path.unlink(missing_ok=True)


def read_missing_data(results: Path) -> dict[str, str]:
    """Data set -> the reason why it could not be obtained at the last attempt."""
    try:
        noted = json.loads((results / "runs" / MISSING_DATA_FILE).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return {printable(str(name)): printable(str(why)) for name, why in noted.items()} if isinstance(noted, dict) else {}


def run_folder(results: Path, name: str) -> Path:
    """The folder of the run id ``name``: that of the local run if it has a record, else that of the reference run."""
    local = results / "runs" / name
    return local if (local / RECORD_FILE).exists() else results / "reference" / name


def select(records: Iterable[Record], **wanted: Any) -> list[Record]:
    """Records whose fields equal the given values, e.g. ``select(records, dataset="mnist", status="ok")``."""
    return [r for r in records if all(getattr(r, name) == value for name, value in wanted.items())]
