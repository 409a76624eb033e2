"""What the records say about a published number: values, differences, and a verdict that is computed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.records.record import Record
from benchmarks.reproduction.targets import Plan, Quantity, Run

REPRODUCED, CONSISTENT, MISSED, NOT_RUN, STALE = "reproduced", "consistent", "not reproduced", "not run", "stale"
# The verdict of a target is the first of its quantities' in this order.
ORDER = (MISSED, STALE, NOT_RUN, CONSISTENT, REPRODUCED)


@dataclass(frozen=True)
class Outcome:
    """One quantity of a target under the fullest budget that has all its records.

    ``values``: seed -> value; ``error``: the standard error of their mean, over seeds where there are several, else
    over test images (``over_seeds`` says which), None where neither is known. ``reason``: why there is no number, or
    why it is the verdict that it is.
    """

    quantity: Quantity
    verdict: str
    reason: str
    budget: str | None = None
    values: Mapping[int, float] | None = None
    error: float | None = None
    over_seeds: bool = False

    @property
    def mean(self) -> float | None:
        return statistics.fmean(self.values.values()) if self.values else None

    @property
    def difference(self) -> float | None:
        """Ours less the published number."""
        if self.mean is None or self.quantity.published is None:
            return None
        return self.mean - self.quantity.published


Runs = Mapping[str, Sequence[Run]]


def judge(
    plan: Plan,
    records: Mapping[str, Record],
    made_for: Mapping[str, Mapping[str, Sequence[str]]],
    missing_data: Mapping[str, str],
) -> list[Outcome]:
    """An outcome for each quantity of a target. ``records`` by run id, those that ended badly too; ``made_for``: budget
    -> arm -> the run ids that its recipe gave earlier; ``missing_data``: data set -> why it could not be had."""
    return [_outcome(quantity, plan, records, made_for, missing_data) for quantity in plan.target.quantities]


def verdict_of(outcomes: Sequence[Outcome]) -> str:
    """The verdict of a whole target."""
    return min((outcome.verdict for outcome in outcomes), key=ORDER.index)


def _outcome(
    quantity: Quantity,
    plan: Plan,
    records: Mapping[str, Record],
    made_for: Mapping[str, Mapping[str, Sequence[str]]],
    missing_data: Mapping[str, str],
) -> Outcome:
    arms = [arm for arm in (quantity.arm, quantity.minus) if arm]
    budgets = [budget for budget in ("full", "reduced") if budget in plan.runs]
    for budget in budgets:
        runs = plan.runs[budget]
        found = {arm: {run.seed: records.get(run.run_id) for run in runs[arm]} for arm in arms}
        values = _values(quantity, found)
        if values is not None:
            error, over_seeds = _error(quantity, found, values)
            verdict, reason = _verdict(quantity, budget, values, error)
            return Outcome(quantity, verdict, reason, budget, values, error, over_seeds)
    for budget in budgets:
        noted = made_for.get(budget, {})
        earlier = {arm: [records.get(run_id) for run_id in noted.get(arm, ())] for arm in arms}
        by_seed = {arm: {r.seed: r for r in found_before if r is not None} for arm, found_before in earlier.items()}
        values = _values(quantity, by_seed) if all(by_seed.values()) else None
        if values is not None:
            error, over_seeds = _error(quantity, by_seed, values)
            reason = "the recipe was changed after its records were made"
            return Outcome(quantity, STALE, reason, budget, values, error, over_seeds)
    return Outcome(quantity, NOT_RUN, _why_not(quantity, plan, budgets, arms, records, missing_data))


def _values(quantity: Quantity, found: Mapping[str, Mapping[int, Record | None]]) -> dict[int, float] | None:
    """Seed -> value; None unless every arm has the metric for every seed."""
    if _mixed_data(record for by_seed in found.values() for record in by_seed.values()):
        return None
    by_arm: dict[str, dict[int, float]] = {}
    for arm, by_seed in found.items():
        numbers = {
            seed: record.metrics[quantity.metric]
            for seed, record in by_seed.items()
            if record is not None and record.status == "ok" and quantity.metric in record.metrics
        }
        if len(numbers) < len(by_seed) or not numbers:
            return None
        by_arm[arm] = numbers
    first = by_arm[quantity.arm]
    other = by_arm[quantity.minus] if quantity.minus else dict.fromkeys(first, 0.0)
    if first.keys() != other.keys():
        return None
    return {seed: quantity.times * (first[seed] - other[seed]) for seed in sorted(first)}


def _mixed_data(records: Iterable[Record | None]) -> bool:
    """Whether records of one data set were made from different images."""
    found = {(r.dataset, r.data_sha256) for r in records if r is not None and r.status == "ok"}
    return len(found) > len({dataset for dataset, _ in found})


def _error(
    quantity: Quantity, found: Mapping[str, Mapping[int, Record | None]], values: Mapping[int, float]
) -> tuple[float | None, bool]:
    """The standard error of the mean of ``values``, and whether it is over seeds."""
    if len(values) > 1:
        return statistics.stdev(values.values()) / math.sqrt(len(values)), True
    # Arms are measured on the same images: taken as independent, their difference's error is rather too large.
    errors = [
        record.metrics.get(f"{quantity.metric}_se")
        for by_seed in found.values()
        for record in by_seed.values()
        if record
    ]
    if not errors or any(error is None for error in errors):
        return None, False
    return abs(quantity.times) * math.sqrt(sum(error**2 for error in errors if error is not None)), False


def _verdict(quantity: Quantity, budget: str, values: Mapping[int, float], error: float | None) -> tuple[str, str]:
    """The verdict, and which interval it was held against."""
    mean = statistics.fmean(values.values())
    if budget == "full":
        interval, because = quantity.accept, quantity.because
    else:
        assert quantity.expected is not None
        interval, because = quantity.expected, quantity.expected_because
    margin = quantity.standard_errors * (error if error is not None else math.inf) if quantity.standard_errors else 0.0
    low = -math.inf if interval[0] is None else interval[0] + margin
    high = math.inf if interval[1] is None else interval[1] - margin
    inside = low <= mean <= high
    reason = f"{'in' if inside else 'outside'} {between(interval)}{margin_words(quantity)}: {because}"
    return (REPRODUCED if budget == "full" else CONSISTENT) if inside else MISSED, reason


def margin_words(quantity: Quantity) -> str:
    """By how much a number must lie inside its interval; "" where the interval is all."""
    return f" by {quantity.standard_errors:g} standard errors" if quantity.standard_errors else ""


def between(interval: Sequence[float | None]) -> str:
    """An interval in words."""
    low, high = interval
    if low is None:
        return f"at most {high:g}"
    return f"at least {low:g}" if high is None else f"{low:g} to {high:g}"


def _why_not(
    quantity: Quantity,
    plan: Plan,
    budgets: Sequence[str],
    arms: Sequence[str],
    records: Mapping[str, Record],
    missing_data: Mapping[str, str],
) -> str:
    """The nearest known reason: what a record says, then what its data set lacks, then what the target needs."""
    runs = [run for budget in budgets for arm in arms for run in plan.runs[budget][arm]]
    for record in filter(None, (records.get(run.run_id) for run in runs)):
        if record.status != "ok":
            return f"{record.run_id} {record.status}: {(record.error or {}).get('message', '')}"
        if quantity.metric in record.not_applicable:
            return f"{quantity.metric}: {record.not_applicable[quantity.metric]}"
    if _mixed_data(records.get(run.run_id) for run in runs):
        return "its records were made from different images of one data set"
    for dataset in sorted({plan.target.arms[arm].dataset for arm in arms}):
        if dataset in missing_data:
            return f"data missing: {missing_data[dataset]}"
    done = sum(run.run_id in records for run in runs)
    if done:
        return f"{done} of {len(runs)} cells have a record"
    command = f"make reproduce TARGETS={plan.target.id} BUDGET={budgets[-1]}"
    return f"{plan.target.needs}; {command}" if plan.target.needs else f"no record yet: {command}"
