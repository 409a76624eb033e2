"""Comparison of judges: distances in the features of two differently trained networks are not comparable.

Every record identifies its judge by the digest of its weights. A judge that comes with the suite is the same on every
machine. A judge that is trained on the data (CelebA, a user's own) differs from machine to machine.

This module imports nothing heavy, because reports use it on machines without torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from benchmarks.records.catalogue import CATALOGUE
from benchmarks.records.record import Record

DIGEST = "judge_digest"
LIMITS = "limits_features"
TOLERANCE = 1e-3
OTHER_JUDGE = (
    "judged by another network than the rest, and distances in the features of two networks do not compare; run it "
    "again (where no judge is shipped, on the machine of the rest)"
)


def same_judge(one: Record, other: Record) -> bool:
    """Whether two records of one data set and one evaluation had the same judge, so that its features can be compared.

    True if the records do not show which judges they had.
    """
    first, second = one.details.get(DIGEST), other.details.get(DIGEST)
    if first and second:
        return bool(first == second)
    # Earlier records have no digest, but the distances of training images and of noise. For one judge these agree to
    # about seven digits; for two judges they mostly differ in the second or third.
    limits, others = _limits(one), _limits(other)
    shared = {"train", "noise"} & limits.keys() & others.keys()
    return all(math.isclose(limits[name], others[name], rel_tol=TOLERANCE) for name in shared)


def _limits(record: Record) -> dict[str, float]:
    found = record.details.get(LIMITS)
    found = found if isinstance(found, dict) else {}
    return {name: value for name, value in found.items() if isinstance(value, int | float)}


def without_judged(record: Record, reason: str) -> Record:
    """The record with all metrics of its judge made not applicable, for the given ``reason``."""
    judge = ("judge", "judge_accuracy", DIGEST, LIMITS)
    judged = {name for name in record.metrics if name in CATALOGUE and CATALOGUE[name].judged}
    return replace(
        record,
        metrics={name: value for name, value in record.metrics.items() if name not in judged},
        not_applicable=record.not_applicable | dict.fromkeys(judged, reason),
        details={name: value for name, value in record.details.items() if name not in judge},
    )


def of_one_judge(records: Iterable[Record]) -> list[Record]:
    """Records that may share a table, because all have metrics of one judge.

    The most frequent judge is kept; of several, the one with the latest record. Records of other judges lose the
    metrics of their judge.
    """
    records = list(records)
    groups: list[list[Record]] = []
    for record in records:
        if record.details.get(DIGEST) or _limits(record):
            group = next((group for group in groups if same_judge(group[0], record)), None)
            if group is None:
                groups.append([record])
            else:
                group.append(record)
    if len(groups) < 2:
        return records
    kept = max(groups, key=lambda group: (len(group), max(record.finished for record in group)))
    return [r if same_judge(kept[0], r) else without_judged(r, OTHER_JUDGE) for r in records]
