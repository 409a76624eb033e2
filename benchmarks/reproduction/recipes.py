"""Run paper targets: turn their recipes into cells, which the sweep runs like any others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.config import Config, compose_seeds, split_list
from benchmarks.errors import UserError
from benchmarks.files import locked
from benchmarks.records.made_for import note_made_for
from benchmarks.records.numbers import parts
from benchmarks.records.record import read_records
from benchmarks.reproduction import costs
from benchmarks.reproduction.costs import Asked
from benchmarks.reproduction.targets import BUDGETS, UNCHANGED, Plan, Run, Target, all_targets
from benchmarks.sweep import runner as sweep
from benchmarks.sweep.cell import Setting
from variants.options import unknown

# Name of the unchanged arm, with which the arms of an ablation are compared.


def chosen(names: str, budget: str | None, setting: Setting, jobs: int | None) -> tuple[list[Asked], str]:
    """The targets of "a,b", "all" or "quick", and lines that say which targets "all" skips ("" for none).

    "quick" selects targets that take at most :data:`costs.QUICK_SECONDS` each. Without a ``budget``, each target has
    its default budget. Raises :class:`UserError` for an unknown target or budget, for a target that is requested by
    name and does not have the budget, and for "quick" if no target is quick.
    """
    if budget is not None and budget not in BUDGETS:
        raise UserError(unknown("budget", budget, BUDGETS))
    targets = all_targets()

    def asked(name: str) -> Asked:
        target = targets[name]
        of_target = budget or target.default_budget
        return Asked(target, of_target, cells(target, of_target, targets))

    quick: list[str] = []
    if "quick" in (name.strip() for name in names.split(",")):
        records = read_records(setting.results)[0]
        having = [asked(name) for name in targets if budget is None or targets[name].has(budget)]
        quick = [one.target.id for one in having if costs.is_quick(one, records, setting.device, jobs)]
        if not quick:
            raise UserError(
                "no target is known to take at most 10 minutes: name targets, or list their times with --dry"
            )
    wanted = split_list(names, "target", targets, {"quick": quick})
    if names.strip() == "all":
        if budget is not None:
            return [asked(name) for name in wanted if targets[name].has(budget)], ""
        needing = [name for name in wanted if targets[name].needs]
        left_out = "".join(f"skipped: {name} needs {targets[name].needs}\n" for name in needing).strip()
        return [asked(name) for name in wanted if name not in needing], left_out
    for name in wanted:
        if budget is not None and not targets[name].has(budget):
            raise UserError(f"target {name!r} has no {budget} budget")
    return [asked(name) for name in wanted], ""


def cells(target: Target, budget: str, targets: dict[str, Target]) -> dict[str, list[Config]]:
    """The cells of a budget of a target, by arm; for an ablation, by the description of its changes.

    Raises ``UserError``.
    """
    if not target.has(budget):
        return {}
    if budget == "ablation":
        assert target.ablation is not None
        changes = {UNCHANGED: [], **{change.what: change.options for change in target.ablation.changes}}
        arms = [name for name in (target.ablated.arm, target.ablated.minus) if name]
        return {
            what: [
                config
                for arm in arms
                for config in compose_arm(target, arm, target.seeds(budget), [*target.ablation.options, *options])
            ]
            for what, options in changes.items()
        }
    planned = {}
    for name, arm in target.arms.items():
        if arm.of is not None:
            (planned[name],) = cells(targets[arm.of], budget, targets).values()
        else:
            options = (target.full if budget == "full" else target.reduced or target.full).options
            planned[name] = compose_arm(target, name, target.seeds(budget), options)
    if budget == "full":
        _check_measured(target, planned)
    return planned


def _check_measured(target: Target, planned: Mapping[str, list[Config]]) -> None:
    """Raise :class:`UserError` for a number during training, such as ``elbo@5``, that the full recipe does not
    measure."""
    for quantity in target.quantities:
        at = parts(quantity.metric).at
        for name in filter(None, (quantity.arm, quantity.minus) if at is not None else ()):
            measured = planned[name][0].training.measure_at or []
            if at not in measured:
                raise UserError(
                    f"{target.file}: {quantity.metric} of {quantity.name!r} needs {at} in training.measure_at of "
                    f"arms.{name}, got {list(measured)}"
                )


def compose_arm(target: Target, name: str, seeds: Sequence[int], options: Sequence[str]) -> list[Config]:
    """The cells of an arm of a target with the ``options`` of a budget. Raises :class:`UserError`."""
    arm = target.arms[name]
    try:
        return compose_seeds(arm.variant, arm.dataset, arm.profile, seeds, [*arm.options, *options])
    except UserError as error:
        raise UserError(f"{target.file}: arms.{name}: {error}") from error


def plans(targets: dict[str, Target]) -> list[Plan]:
    """Every target with the run ids that its current recipes give."""
    return [
        Plan(
            target,
            {
                budget: {
                    arm: [
                        Run(
                            config.run_id,
                            config.seed,
                            config.training.epochs,
                            config.training.steps,
                            config.training.patience is not None,
                        )
                        for config in configs
                    ]
                    for arm, configs in cells(target, budget, targets).items()
                }
                for budget in BUDGETS
                if target.has(budget)
            },
            {name: arm.variant or targets[arm.of or ""].only_arm.variant for name, arm in target.arms.items()},
        )
        for target in targets.values()
    ]


def all_cells(asked: Sequence[Asked]) -> list[Config]:
    """The cells of several targets, without duplicates."""
    return list({config.run_id: config for one in asked for config in one.cells}.values())


def run(
    asked: Sequence[Asked], setting: Setting, retry: bool, jobs: int | None, timeout: float | None
) -> sweep.Summary:
    """Run all cells of the targets that have no record yet, and note which cells belong to each target."""
    summary = sweep.run(all_cells(asked), setting, retry, jobs, timeout)
    _note(setting.results, asked)
    return summary


def _note(results: Path, asked: Sequence[Asked]) -> None:
    """Store the run ids that the recipes of targets give now, so that a later change of a recipe is detected.

    Only arms whose cells all have a successful record are stored.
    """
    there = {record.run_id for record in read_records(results)[0] if record.status == "ok"}
    made = {
        one.target.id: {
            one.budget: {arm: ids for arm, configs in one.arms.items() if there.issuperset(ids := _ids(configs))}
        }
        for one in asked
    }
    with locked(results / "runs" / ".made_for.lock"):
        note_made_for(results, made)


def _ids(configs: Iterable[Config]) -> list[str]:
    return [config.run_id for config in configs]
