"""Run paper targets: from recipes to cells, which the sweep runs as any others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.conf_files import check_files, files
from benchmarks.config import Config, compose_seeds, split_list
from benchmarks.errors import UserError
from benchmarks.files import locked
from benchmarks.records.made_for import note_made_for
from benchmarks.records.record import read_records
from benchmarks.reproduction.targets import BUDGETS, Arm, Plan, Run, Target, read_targets
from benchmarks.sweep import runner as sweep
from benchmarks.sweep.cell import Setting
from variants.options import unknown

# What an ablation is compared with.
UNCHANGED = "the recipe"


def all_targets() -> dict[str, Target]:
    """Every target, the suite's own and those in the user's folders. Raises :class:`UserError`."""
    check_files()
    return read_targets(files("paper").values())


def chosen(names: str, budget: str) -> list[Target]:
    """The targets of "a,b" or "all" that have such a budget. Raises :class:`UserError` for an unknown target or budget,
    and for one asked for by name that has no such budget."""
    if budget not in BUDGETS:
        raise UserError(unknown("budget", budget, BUDGETS))
    targets = all_targets()
    wanted = [targets[name] for name in split_list(names, "target", targets)]
    having = [target for target in wanted if getattr(target, budget) is not None]
    if names.strip() != "all" and len(having) < len(wanted):
        without = next(target for target in wanted if target not in having)
        raise UserError(f"target {without.id!r} has no {budget} budget")
    return having


def cells(target: Target, budget: str, targets: dict[str, Target]) -> dict[str, list[Config]]:
    """The cells of one budget of a target, by arm; those of an ablation by what it changes. Raises ``UserError``."""
    if getattr(target, budget) is None:
        return {}
    if budget == "ablation":
        assert target.ablation is not None
        changes = {UNCHANGED: [], **{change.what: change.options for change in target.ablation.changes}}
        arms = [target.arms[name] for name in (target.ablated.arm, target.ablated.minus) if name]
        return {
            what: [
                config
                for arm in arms
                for config in _compose(arm, target.seeds(budget), [*target.ablation.options, *options])
            ]
            for what, options in changes.items()
        }
    planned = {}
    for name, arm in target.arms.items():
        if arm.of is not None:
            (planned[name],) = cells(targets[arm.of], budget, targets).values()
        else:
            options = (target.full if budget == "full" else target.reduced or target.full).options
            planned[name] = _compose(arm, target.seeds(budget), options)
    return planned


def _compose(arm: Arm, seeds: Sequence[int], options: Sequence[str]) -> list[Config]:
    return compose_seeds(arm.variant, arm.dataset, arm.profile, seeds, [*arm.options, *options])


def plans() -> list[Plan]:
    """Every target with the run ids that its recipes give now."""
    targets = all_targets()
    return [
        Plan(
            target,
            {
                budget: {
                    arm: [
                        Run(config.run_id, config.seed, config.training.epochs, config.training.steps)
                        for config in configs
                    ]
                    for arm, configs in cells(target, budget, targets).items()
                }
                for budget in BUDGETS
                if getattr(target, budget) is not None
            },
        )
        for target in targets.values()
    ]


def all_cells(targets: Sequence[Target], budget: str) -> list[Config]:
    """The cells of several targets, those that two share once."""
    known = all_targets()
    return _distinct(cells(target, budget, known) for target in targets)


def _distinct(planned: Iterable[dict[str, list[Config]]]) -> list[Config]:
    return list({config.run_id: config for arms in planned for configs in arms.values() for config in configs}.values())


def run(
    targets: Sequence[Target], budget: str, setting: Setting, retry: bool, jobs: int | None, timeout: float | None
) -> sweep.Summary:
    """Run every cell of the targets that has no record yet, and note which cells each target has."""
    known = all_targets()
    planned = {target.id: cells(target, budget, known) for target in targets}
    summary = sweep.run(_distinct(planned.values()), setting, retry, jobs, timeout)
    _note(setting.results, budget, planned)
    return summary


def _note(results: Path, budget: str, planned: dict[str, dict[str, list[Config]]]) -> None:
    """Keep which run ids a target's recipe gave when its records were made, so that a changed recipe shows."""
    there = {record.run_id for record in read_records(results)[0] if record.status == "ok"}
    made = {
        target: {budget: {arm: ids for arm, configs in arms.items() if there.issuperset(ids := _ids(configs))}}
        for target, arms in planned.items()
    }
    with locked(results / "runs" / ".made_for.lock"):
        note_made_for(results, made)


def _ids(configs: Iterable[Config]) -> list[str]:
    return [config.run_id for config in configs]
