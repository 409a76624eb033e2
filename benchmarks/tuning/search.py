"""A small search over the options that a variant's paper leaves open, on validation data: ``make tune``.

Optuna proposes the values, with a fixed seed. Every trial is an ordinary run of the sweep with its own record in
``results/tuning/runs``. Test data do not influence the search.
"""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import variants
from benchmarks.config import Config, compose
from benchmarks.environment import describe
from benchmarks.errors import UserError
from benchmarks.records.record import HISTORY_FILE
from benchmarks.records.searches import TUNING, Search, Trial, write_search
from benchmarks.sweep import runner
from benchmarks.sweep.cell import Setting, finished
from variants.options import unknown

MOST_TRIALS = 8
SEED = 0
# Keeps the evaluation of a trial as small as possible, because only the validation scores matter.
LEAST_EVALUATION = (
    "evaluation.images=200", "evaluation.importance_samples=1", "evaluation.generated_images=200",
    "evaluation.probe_images=500", "evaluation.inception=false",
)  # fmt: skip
# Validation scores that can be the criterion, in order of preference. Higher is better. Not every variant has all.
CRITERIA = ("validation_elbo", "validation_log_likelihood", "validation_negative_squared_error")


def searched(name: str) -> Mapping[str, Sequence[Any]]:
    """The options of a variant that are searched, with the values to try besides the default.

    The result is empty for an unknown variant.
    """
    return variants.lookup(name).search if name in variants.names() else {}


def searchable(names: Sequence[str]) -> list[str]:
    """The variants in ``names`` that have options to search. Raises :class:`UserError` if there are none."""
    having = [name for name in names if variants.lookup(name).search]
    if not having:
        every = ", ".join(name for name in variants.names() if variants.lookup(name).search)
        raise UserError(f"nothing to tune: {', '.join(names)} declares no `search` (variants that do: {every})")
    return having


def check_criterion(name: str | None) -> None:
    """Raise :class:`UserError` if ``name`` is not one of ``CRITERIA``."""
    if name is not None and name not in CRITERIA:
        raise UserError(unknown("criterion", name, CRITERIA))


def tune(
    variant: str,
    dataset: str,
    profile: str,
    setting: Setting,
    trials: int = MOST_TRIALS,
    criterion: str | None = None,
    overrides: Sequence[str] = (),
    retry: bool = False,
    jobs: int | None = None,
) -> Search:
    """Search the options that a variant declares in ``search``, and write the result.

    There are at most ``trials`` runs, starting with the default values. ``overrides`` apply to all trials; those of
    searched options are values to try, too. ``criterion``: one of ``CRITERIA``, by default the first one that the
    variant has. A trial that already has a record is not run again. Raises :class:`UserError`.
    """
    try:
        import optuna
    except ImportError:
        raise UserError("tuning needs Optuna: pip install 'optuna>=4'") from None

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    check_criterion(criterion)
    more = ["training.validation_samples=10"] if criterion == "validation_log_likelihood" else []
    fixed = [*LEAST_EVALUATION, *more, *overrides]
    declared = variants.lookup(variant).search
    keys = {f"variant.{name}" for name in declared}
    others = [text for text in fixed if text.lstrip("+").partition("=")[0] not in keys]
    # With the overrides of searched options, and without them: the user's values, and the defaults.
    given, own = (compose(variant, dataset, profile, SEED, chosen).variant for chosen in (fixed, others))
    default = {name: getattr(own, name) for name in declared}
    space = {
        name: list(dict.fromkeys([default[name], getattr(given, name), *values])) for name, values in declared.items()
    }
    cells = _cells(variant, dataset, profile, others, space)
    inner = replace(setting, results=setting.results / TUNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=SEED))
    distributions: dict[str, optuna.distributions.BaseDistribution] = {
        name: optuna.distributions.CategoricalDistribution(range(len(values))) for name, values in space.items()
    }
    study.enqueue_trial(dict.fromkeys(space, 0))
    found: dict[tuple[int, ...], Trial] = {}
    # Values that are proposed again are not run again. A small space is searched completely.
    for _ in range(50 * trials):
        if len(found) >= min(trials, len(cells)):
            break
        proposed = study.ask(distributions)
        place = tuple(proposed.params[name] for name in space)
        if place not in found:
            _check(runner.run([cells[place]], inner, retry, jobs))
            criterion, score = _score(inner, cells[place], criterion)
            options = {name: space[name][i] for name, i in zip(space, place, strict=True)}
            found[place] = Trial(options, score, cells[place].run_id)
        told = found[place].score
        failed = optuna.trial.TrialState.FAIL if told is None else None
        study.tell(proposed, told, state=failed)
    scored = [trial for trial in found.values() if trial.score is not None]
    if not scored or criterion is None:
        raise UserError(f"{variant}: no trial succeeded (see the records below {inner.results / 'runs'})")
    best = max(scored, key=lambda trial: trial.score if trial.score is not None else -math.inf)
    search = Search(
        variant, dataset, profile, criterion, space, default, list(found.values()), best.options,
        datetime.now(UTC).isoformat(timespec="seconds"), str(describe(setting.device).get("commit", "unknown")),
        list(overrides),
    )  # fmt: skip
    write_search(setting.results, search)
    return search


def _check(summary: runner.Summary) -> None:
    """Raise :class:`UserError` if a trial was not run: without its score, another trial could become the best one."""
    for run_id in summary.elsewhere:
        raise UserError(f"{run_id} is being run by another process: repeat the command when that one has ended")
    for name, reason in summary.missing_data.items():
        raise UserError(f"the data set {name} is missing: {reason}")
    for reason in summary.refused.values():
        raise UserError(reason)


def _cells(
    variant: str, dataset: str, profile: str, fixed: Sequence[str], space: Mapping[str, Sequence[Any]]
) -> dict[tuple[int, ...], Config]:
    """Point of the grid -> its configuration. All configurations are composed before the first run starts."""
    places = itertools.product(*(range(len(values)) for values in space.values()))
    return {place: compose(variant, dataset, profile, SEED, [*fixed, *_overrides(space, place)]) for place in places}


def _overrides(space: Mapping[str, Sequence[Any]], place: Sequence[int]) -> list[str]:
    return [f"variant.{name}={values[i]}" for (name, values), i in zip(space.items(), place, strict=True)]


def _score(setting: Setting, cell: Config, criterion: str | None) -> tuple[str | None, float | None]:
    """The criterion and its value after the last epoch. The value is None if the run failed or has no such score.

    If ``criterion`` is None, it is the first of ``CRITERIA`` that the run has.
    """
    record = finished(cell, setting)
    path = setting.run_folder(cell) / HISTORY_FILE
    if record is None or record.status != "ok" or not path.is_file():
        return criterion, None
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for name in CRITERIA if criterion is None else (criterion,):
        values = [row[name] for row in rows if row.get(name)]
        if values and math.isfinite(score := float(values[-1])):
            return name, score
    return criterion, None


def describe_search(search: Search) -> str:
    """The result of a search as text for a terminal."""
    lines = [
        f"{search.variant} on {search.dataset}, {search.profile}: {search.criterion} of {len(search.trials)} trials"
    ]
    for trial in sorted(search.trials, key=lambda one: -math.inf if one.score is None else -one.score):
        shown = ", ".join(f"{name}={value}" for name, value in trial.options.items())
        known = (("best", search.best), ("default", search.default))
        marks = ", ".join(mark for mark, options in known if options == trial.options)
        score = "failed or diverged" if trial.score is None else f"{trial.score:.3f}"
        lines.append(f"  {shown}: {score}{f' ({marks})' if marks else ''}")
    return "\n".join(lines)
