"""Records as reports need them: one that would break a page is left out and named, and costs its own row alone."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks.records.record import Record, configuration_hash
from benchmarks.reporting.boundary.side_files import LARGEST
from benchmarks.reporting.markdown import one_line

# Counts, seeds and sizes: more than fits into 64 bits is none.
_LARGEST_COUNT = 2**64
_LONGEST_NAME = 200


class _UnfitError(ValueError):
    """What is wrong with a record."""


def usable(records: Iterable[Record], messages: Iterable[str]) -> tuple[list[Record], list[str]]:
    """The records that reports can show, and ``messages`` with a line for each other one."""
    kept, said = [], list(messages)
    for record in records:
        try:
            _check(record)
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            said.append(f"left out: record {one_line(record.run_id, 100)}: {one_line(error, 200)}")
        else:
            kept.append(record)
    return kept, said


def _check(record: Record) -> None:
    if not re.fullmatch(r"[^/\\\0]{1,250}", record.run_id) or record.run_id in (".", ".."):
        raise _UnfitError("run_id is not the name of a folder")
    if len(record.run_id.encode()) > 250:
        raise _UnfitError("run_id is too long for the name of a folder")
    for name in ("variant", "dataset", "profile"):
        if not 0 < len(getattr(record, name)) <= _LONGEST_NAME:
            raise _UnfitError(
                f"{name} has {len(getattr(record, name)):,} characters (1 to {_LONGEST_NAME} are allowed)"
            )
    for part in ("dataset", "training", "evaluation", "variant"):
        _mapping(f"config.{part}", record.config.get(part, {}))
    for name in ("seed", "parameters", "importance_samples", "evaluated_images"):
        _count(name, getattr(record, name))
    for group in ("metrics", "timing"):
        for name, value in getattr(record, group).items():
            _number(f"{group}.{name}", value)
    if not all(isinstance(reason, str) for reason in (*record.not_applicable.values(), *record.warnings)):
        raise _UnfitError("a warning or a reason is not text")
    if record.error is not None:
        _mapping("error", record.error)
    _check_details(record.details)
    samples = record.config.get("variant", {}).get("samples", 1)
    _number("config.variant.samples", samples)
    # Refuses what is not JSON, such as NaN, and text that is not Unicode.
    configuration_hash(record.config)
    repr((record.environment, record.details, record.config)).encode()


def _check_details(details: Mapping[str, Any]) -> None:
    overrides = details.get("overrides", [])
    if not isinstance(overrides, list | tuple) or not all(isinstance(text, str) for text in overrides):
        raise _UnfitError("details.overrides is not a list of texts")
    for name in ("judge_accuracy", "peak_memory_bytes", "information_images"):
        if details.get(name) is not None:
            _number(f"details.{name}", details[name])
    for name in ("limits_features", "limits_inception"):
        for key, value in _mapping(f"details.{name}", details.get(name) or {}).items():
            if value is not None:
                _number(f"details.{name}.{key}", value)


def _mapping(name: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _UnfitError(f"{name} is not an object")
    return value


def _number(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < LARGEST:
        raise _UnfitError(f"{name} is {_short(value)}, which is no measurement")
    if not math.isfinite(float(value)):
        raise _UnfitError(f"{name} is not finite")


def _count(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _LARGEST_COUNT:
        raise _UnfitError(f"{name} is {_short(value)}, which is no count")


def _short(value: object) -> str:
    if isinstance(value, int) and abs(value) >= _LARGEST_COUNT:
        return "a number of too many digits"
    return one_line(repr(value), 40)
