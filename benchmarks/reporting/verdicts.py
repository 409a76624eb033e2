"""Compare records with published numbers: values, differences and verdicts."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.records.numbers import number, parts, standard_error
from benchmarks.records.record import Record
from benchmarks.reproduction.targets import Plan, Quantity, Run, open_ends

REPRODUCED, CONSISTENT, MISSED = "reproduced", "consistent", "missed"
TOO_SHORT, STALE, NOT_RUN = "too short to judge", "stale", "not run"
# Quantities are listed in this order of their verdicts.
ORDER = (REPRODUCED, CONSISTENT, MISSED, TOO_SHORT, STALE, NOT_RUN)
# A run with less than this share of the full recipe's training says too little about the result of the full recipe.
LEAST_SHARE = 0.1

BOTH_SPREADS, OVER_SEEDS, OVER_IMAGES = "both spreads", "s.e. over seeds", "s.e. over images"


@dataclass(frozen=True)
class Distance:
    """A distance of ``value`` in ``unit`` from ``origin``: the published number, or the end of a one-sided interval."""

    value: float
    unit: str
    origin: float


@dataclass(frozen=True)
class Outcome:
    """The result of one quantity of a target, for the largest budget that has all its records.

    ``values`` maps seeds to values. ``error`` is the standard error of their mean: over seeds if there are several,
    otherwise over test images (``over_seeds`` says which); None if neither is known. ``interval`` is the interval that
    the mean was compared with. ``reason`` says why there is no number, or explains the verdict. ``reduced`` are the
    values under the reduced budget, if ``values`` are those of the full recipe and both have all their records.
    """

    quantity: Quantity
    verdict: str
    reason: str
    budget: str | None = None
    values: Mapping[int, float] | None = None
    error: float | None = None
    over_seeds: bool = False
    interval: Sequence[float | None] | None = None
    reduced: Mapping[int, float] | None = None

    @property
    def mean(self) -> float | None:
        return statistics.fmean(self.values.values()) if self.values else None

    @property
    def varies(self) -> bool:
        """Whether the standard deviation over seeds is larger than the width of the interval."""
        low, high = open_ends(self.interval or (None, None))
        values = list((self.values or {}).values())
        return len(values) > 1 and statistics.stdev(values) > high - low

    @property
    def difference(self) -> float | None:
        """Our mean minus the published number."""
        if self.mean is None or self.quantity.published is None:
            return None
        return self.mean - self.quantity.published

    @property
    def distance(self) -> Distance | None:
        """The standardised distance of our mean from the published number, or from the end of a one-sided interval.

        The unit is our standard error. If the source gives a standard deviation and we have several seeds, the distance
        from the published number is in units of the combined standard deviation instead. None if there is no reference
        or no unit.
        """
        mean, values = self.mean, list((self.values or {}).values())
        if mean is None:
            return None
        end = one_end(self.interval or self.quantity.accept)
        if end is not None:
            return Distance((mean - end) / self.error, self._errors_unit, end) if self.error else None
        published, spread = self.quantity.published, self.quantity.spread
        if published is None:
            return None
        if spread is not None and len(values) > 1:
            both = math.hypot(statistics.stdev(values), spread)
            return Distance((mean - published) / both, BOTH_SPREADS, published)
        return Distance((mean - published) / self.error, self._errors_unit, published) if self.error else None

    @property
    def _errors_unit(self) -> str:
        return OVER_SEEDS if self.over_seeds else OVER_IMAGES


def one_end(interval: Sequence[float | None]) -> float | None:
    """The end of a one-sided interval; None if the interval has two ends."""
    low, high = interval
    return None if low is not None and high is not None else low if low is not None else high


Runs = Mapping[str, Sequence[Run]]


def judge(
    plan: Plan,
    records: Mapping[str, Record],
    made_for: Mapping[str, Mapping[str, Sequence[str]]],
    missing_data: Mapping[str, str],
) -> list[Outcome]:
    """An outcome for each quantity of a target.

    ``records`` maps run ids to records, including failed ones. ``made_for`` contains the run ids of earlier versions of
    the recipe: budget -> arm -> run ids. ``missing_data`` maps data sets to the reason why they are not available.
    """
    return [_outcome(quantity, plan, records, made_for, missing_data) for quantity in plan.target.quantities]


def verdict_of(outcomes: Sequence[Outcome]) -> str:
    """The verdict of a target: "reproduced", or "2 of 5 quantities reproduced, 3 not run" if quantities differ."""
    counts = Counter(outcome.verdict for outcome in outcomes)
    first, *others = (verdict for verdict in ORDER if counts[verdict])
    if not others:
        return first
    rest = (f"{counts[verdict]} {verdict}" for verdict in others)
    return ", ".join([f"{counts[first]} of {len(outcomes)} quantities {first}", *rest])


def share(plan: Plan, budget: str, quantity: Quantity) -> float:
    """The length of a budget's training for the quantity, as a share of the full recipe; 0 if their units differ."""
    done, full = plan.runs[budget][quantity.arm][0], plan.runs["full"][quantity.arm][0]
    return done.length / full.length if done.unit == full.unit else 0.0


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
        found = _by_seed(plan, budget, arms, records)
        values = _values(quantity, found)
        if values is not None:
            error, over_seeds = _error(quantity, found, values)
            interval = quantity.accept if budget == "full" else quantity.expected
            assert interval is not None
            verdict, reason = _verdict(quantity, budget, values, error, share(plan, budget, quantity))
            reduced = None
            if budget == "full" and "reduced" in budgets:
                reduced = _values(quantity, _by_seed(plan, "reduced", arms, records))
            return Outcome(quantity, verdict, reason, budget, values, error, over_seeds, interval, reduced)
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


def _by_seed(
    plan: Plan, budget: str, arms: Sequence[str], records: Mapping[str, Record]
) -> dict[str, dict[int, Record | None]]:
    """Arm -> seed -> record of a budget, None for runs without one."""
    return {arm: {run.seed: records.get(run.run_id) for run in plan.runs[budget][arm]} for arm in arms}


def _values(quantity: Quantity, found: Mapping[str, Mapping[int, Record | None]]) -> dict[int, float] | None:
    """Seed -> value of the quantity.

    None unless every arm has the metric for every seed, all arms have the same seeds, and the records of each data set
    were made from the same images.
    """
    if _mixed_data(record for by_seed in found.values() for record in by_seed.values()):
        return None
    by_arm: dict[str, dict[int, float]] = {}
    for arm, by_seed in found.items():
        numbers = {
            seed: value
            for seed, record in by_seed.items()
            if record is not None and (value := number(record, quantity.metric)) is not None
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
    # Arms are measured on the same images. Treating them as independent tends to overestimate the error of their
    # difference.
    errors = [
        standard_error(record, quantity.metric) for by_seed in found.values() for record in by_seed.values() if record
    ]
    if not errors or any(error is None for error in errors):
        return None, False
    return abs(quantity.times) * math.sqrt(sum(error**2 for error in errors if error is not None)), False


def _verdict(
    quantity: Quantity, budget: str, values: Mapping[int, float], error: float | None, done: float
) -> tuple[str, str]:
    """The verdict and its reason; ``done`` is the share of the full recipe's training."""
    mean = statistics.fmean(values.values())
    if budget == "full":
        interval, because = quantity.accept, quantity.because
    else:
        assert quantity.expected is not None
        interval, because = quantity.expected, quantity.expected_because
    margin = quantity.standard_errors * (error if error is not None else math.inf) if quantity.standard_errors else 0.0
    low, high = open_ends(interval)
    inside = low + margin <= mean <= high - margin
    where, words = "inside" if inside else "outside", between(interval, quantity.standard_errors)
    if budget != "full" and done < LEAST_SHARE:
        return TOO_SHORT, f"{done:.0%} of the recipe; {where} the interval expected for this budget, {words}"
    reason = f"{where} the interval, {words}: {because}"
    if not inside:
        return MISSED, reason
    return REPRODUCED if budget == "full" else CONSISTENT, reason


def between(interval: Sequence[float | None], standard_errors: float = 0) -> str:
    """An interval in words, with the number of standard errors by which a result must lie inside it."""
    low, high = interval
    if standard_errors:
        errors = f"{standard_errors:g} standard error{'' if standard_errors == 1 else 's'}"
        if low is None:
            return f"below {high:g} by at least {errors}"
        return f"above {low:g} by at least {errors}" if high is None else f"{low:g} to {high:g}, {errors} from its ends"
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
    """The reason why a quantity has no value: from a record, a missing data set, or the needs of the target."""
    runs = [run for budget in budgets for arm in arms for run in plan.runs[budget][arm]]
    for record in filter(None, (records.get(run.run_id) for run in runs)):
        if record.status != "ok":
            return f"{record.run_id} {record.status}: {(record.error or {}).get('message', '')}"
        metric = parts(quantity.metric).metric
        if metric in record.not_applicable:
            return f"{metric}: {record.not_applicable[metric]}"
        if number(record, quantity.metric) is None:
            return f"{record.run_id} has no {quantity.metric}"
    if _mixed_data(records.get(run.run_id) for run in runs):
        return "its records were made from different images of one data set"
    for dataset in sorted({plan.target.arms[arm].dataset for arm in arms}):
        if dataset in missing_data:
            return f"data missing: {missing_data[dataset]}"
    done = sum(run.run_id in records for run in runs)
    if done:
        return f"{done} of {len(runs)} runs have a record"
    command = f"make reproduce TARGETS={plan.target.id}"
    return f"it needs {plan.target.needs}; {command}" if plan.target.needs else f"no record yet: {command}"
