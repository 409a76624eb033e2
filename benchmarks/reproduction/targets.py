"""Paper targets: published numbers, and how to reproduce them, as described in ``conf/paper/*.yaml``.

Each target is a YAML file there, or in the ``paper`` folder of a directory on ``VAE_CONF_PATH``. This module does not
import torch.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from benchmarks.conf_files import check_files, choices, files, shown
from benchmarks.errors import UserError
from benchmarks.records.catalogue import CATALOGUE
from benchmarks.records.numbers import ON_THE_WAY, parts
from variants.options import KINDS, nearest, one_of, unknown
from variants.registry import summaries

BUDGETS = ("full", "reduced", "ablation")
# The name of the runs of an ablation without a change.
UNCHANGED = "the recipe"
# Type of a field -> the types of YAML values that it takes.
ACCEPTED: dict[object, tuple[type, ...]] = {int: (int,), float: (int, float), str: (str, int, float)}


@dataclass
class Arm:
    """One configuration of the suite, as ``make bench`` takes it, with ``options`` as overrides.

    Instead of a configuration, ``of`` can name another target, whose only arm is then used.
    """

    variant: str = ""
    dataset: str = "mnist"
    profile: str = "paper"
    options: list[str] = field(default_factory=list)
    of: str | None = None


@dataclass
class Quantity:
    """A published number: ``times`` the metric of ``arm``, or ``times`` its difference from that of the arm ``minus``.

    ``metric``: a name that :mod:`benchmarks.records.numbers` reads, such as ``elbo``, ``objective@5`` or
    ``objective_per_pixel``. ``spread``: the standard deviation of the source's own runs, if it reports one; the recipe
    then has several seeds. ``accept``: the interval for the full recipe, for the reason ``because``. None means that
    there is no bound on this side; an interval with one bound checks a claimed order, not the published value.
    ``standard_errors``: the number of standard errors by which the result must lie inside the interval. ``expected``:
    the interval for the reduced budget, for the reason ``expected_because``. ``curve``: the column of history.csv with
    the same number after every epoch. ``first_result``: the result of an earlier version of the recipe that missed the
    interval and was corrected.
    """

    name: str = MISSING
    unit: str = MISSING
    arm: str = MISSING
    metric: str = MISSING
    accept: list[float | None] = MISSING
    because: str = MISSING
    published: float | None = None
    spread: float | None = None
    minus: str | None = None
    times: float = 1.0
    standard_errors: float = 0.0
    expected: list[float | None] | None = None
    expected_because: str = ""
    curve: str | None = None
    first_result: float | None = None


@dataclass
class Budget:
    """The seeds of a target's runs, their additional ``options``, and the deviations from the paper that these cause.

    ``minutes``: the estimated time of all runs on one core, from a timing of some steps. Earlier records replace this
    estimate.
    """

    seeds: list[int] = field(default_factory=lambda: [0])
    minutes: float | None = None
    options: list[str] = field(default_factory=list)
    deviations: list[str] = field(default_factory=list)


@dataclass
class Change:
    """One change of the recipe in an ablation, to measure its effect on the number."""

    what: str = MISSING
    options: list[str] = MISSING


@dataclass
class Ablation:
    """Runs of the arms of one quantity with ``options``, and again with each of ``changes``.

    ``quantity``: the name of the quantity, by default the first one.
    """

    quantity: str = ""
    options: list[str] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)


@dataclass(frozen=True)
class Reported:
    """A published number, converted to the record's metric, and the standard deviation of the source's own runs."""

    value: float
    spread: float | None


@dataclass
class Target:
    """One or more numbers of a paper.

    ``recipe``: a description of what the source does. ``seen``: where the number was read. ``deviations``: deviations
    from the paper even with the full recipe. ``needs``: what is required to run it, such as data. ``tried``: what was
    tried to explain a number that was not reproduced. ``id`` and ``file``: the name and the path of the target's file.
    """

    title: str = MISSING
    paper: str = MISSING
    link: str = MISSING
    table: str = MISSING
    seen: str = MISSING
    recipe: str = MISSING
    arms: dict[str, Arm] = MISSING
    quantities: list[Quantity] = MISSING
    full: Budget = field(default_factory=Budget)
    reduced: Budget | None = None
    ablation: Ablation | None = None
    deviations: list[str] = field(default_factory=list)
    needs: str = ""
    tried: str = ""
    id: str = ""
    file: str = ""

    @property
    def ablated(self) -> Quantity:
        """The quantity that the ablation measures."""
        name = self.ablation.quantity if self.ablation else ""
        return next((quantity for quantity in self.quantities if quantity.name == name), self.quantities[0])

    @property
    def default_budget(self) -> str:
        """The budget if none is given: the reduced one if there is one, otherwise the full one."""
        return "full" if self.reduced is None else "reduced"

    def has(self, budget: str) -> bool:
        """Whether the target has this budget."""
        return getattr(self, budget) is not None

    def seeds(self, budget: str) -> list[int]:
        """The seeds of a budget. An ablation uses the first seed of the full recipe."""
        if budget == "ablation":
            return self.full.seeds[:1]
        chosen = self.full if budget == "full" else self.reduced
        return chosen.seeds if chosen else []

    @property
    def only_arm(self) -> Arm:
        """The arm of a target with a single arm."""
        (arm,) = self.arms.values()
        return arm

    def reported(self, arm: str) -> dict[str, Reported]:
        """Metric of a record -> the number that the source reports for an arm.

        Differences of arms, numbers measured during training, and training losses, which cannot be compared between
        variants, are left out.
        """
        return {
            quantity.metric: Reported(
                quantity.published / quantity.times,
                None if quantity.spread is None else quantity.spread / abs(quantity.times),
            )
            for quantity in self.quantities
            if quantity.published is not None
            and quantity.arm == arm
            and not quantity.minus
            and quantity.metric in CATALOGUE
            and quantity.metric != "objective"
        }


@dataclass(frozen=True)
class Run:
    """A cell of a target: its run id, seed and training budget, which is ``epochs`` unless ``steps`` is given.

    ``stops_early``: whether training may end before, because the validation no longer improves.
    """

    run_id: str
    seed: int
    epochs: int
    steps: int | None = None
    stops_early: bool = False

    @property
    def length(self) -> int:
        """The training budget, in its ``unit``."""
        return self.epochs if self.steps is None else self.steps

    @property
    def unit(self) -> str:
        return "epochs" if self.steps is None else "steps"


@dataclass(frozen=True)
class Plan:
    """A target with the cells of each of its budgets.

    ``runs``: budget -> arm -> runs. For an ablation, the keys are its changes instead of arms, the first one being the
    unchanged recipe; each has the runs of the quantity's arm, followed by those of the arm that is subtracted.
    ``variants``: arm -> the variant that it trains.
    """

    target: Target
    runs: dict[str, dict[str, list[Run]]]
    variants: dict[str, str]


@dataclass(frozen=True)
class Published:
    """The numbers that a source reports for one arm of a target, and the resolved configuration of the full budget.

    ``states_latent_size``: whether the recipe sets ``network.latent_size``. Models with discrete codes have no latent
    size.
    """

    target: Target
    numbers: Mapping[str, Reported]
    variant: str
    config: Mapping[str, Any]
    states_latent_size: bool


def read_target(path: Path) -> Target:
    """Read a target from a YAML file. Its id is the name of the file.

    Raises :class:`UserError` if a field is missing or unknown, or if fields contradict each other.
    """
    try:
        content = OmegaConf.load(path)
        _check_keys(Target, OmegaConf.to_container(content), "")
        merged = OmegaConf.merge(OmegaConf.structured(Target), content)
        missing = sorted(OmegaConf.missing_keys(merged))
        if missing:
            raise ValueError(f"{missing[0]} is not given")
        target: Any = OmegaConf.to_object(merged)
        target.id, target.file = path.stem, shown(path)
        _check(target)
    except (OmegaConfBaseException, YAMLError, ValueError, OSError) as error:
        message = " ".join(str(error).split() if isinstance(error, YAMLError) else str(error).split("\n")[0].split())
        raise UserError(f"{shown(path)}: {message}") from error
    assert isinstance(target, Target)
    return target


def _check_keys(schema: type, content: Any, where: str) -> None:
    """Raise ``ValueError`` for a key that the dataclass ``schema`` does not have, and for a value that is not of its
    type. ``where`` is the key of ``content`` in the file."""
    known = [option.name for option in fields(schema) if option.name not in ("id", "file")]
    if not isinstance(content, dict):
        raise ValueError(f"{where} must be keys and values (allowed: {', '.join(known)}), got {content!r}".strip())
    for key, value in content.items():
        if key not in known:
            raise unknown(f"key of {where}" if where else "key", str(key), known)
        _check_value(get_type_hints(schema)[key], value, f"{where}.{key}" if where else key)


def _check_value(hint: Any, value: Any, where: str) -> None:
    optional = NoneType in get_args(hint)
    if optional and value is None:
        return
    kind = get_args(hint)[0] if optional else hint
    if is_dataclass(kind):
        assert isinstance(kind, type)
        _check_keys(kind, value, where)
    elif get_origin(kind) is list and isinstance(value, list):
        for number, part in enumerate(value):
            _check_value(get_args(kind)[0], part, f"{where}[{number}]")
    elif get_origin(kind) is dict and isinstance(value, dict):
        for name, part in value.items():
            _check_value(get_args(kind)[1], part, f"{where}.{name}")
    elif isinstance(value, bool) or not isinstance(value, ACCEPTED.get(kind, ())):
        words = KINDS.get(kind, "a list" if get_origin(kind) is list else "keys and values")
        raise ValueError(f"{where} must be {words}{' or null' if optional else ''}, got {value!r}")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where} must be finite, got {value}")


def _check(target: Target) -> None:
    if not target.arms or not target.quantities:
        raise ValueError("arms and quantities must not be empty")
    for name in ("title", "paper", "link", "table", "seen", "recipe"):
        if not getattr(target, name).strip():
            raise ValueError(f"{name} must not be empty")
    for name, arm in target.arms.items():
        if bool(arm.variant) == bool(arm.of):
            raise ValueError(f"arms.{name} needs either a variant or another target (of)")
    for number, quantity in enumerate(target.quantities):
        where = f"quantities[{number}]"
        for arm_name in filter(None, (quantity.arm, quantity.minus)):
            if arm_name not in target.arms:
                raise unknown(f"arm of {where}", arm_name, target.arms)
        _check_metric(f"{where}.metric", quantity.metric)
        if quantity.times == 0:
            raise ValueError(f"{where}.times must not be 0")
        _check_spread(where, quantity, target.full.seeds)
        _check_interval(f"{where}.accept", quantity.accept)
        if quantity.first_result is not None and _lies_in(quantity.first_result, quantity.accept):
            raise ValueError(f"{where}.first_result must miss the accepted interval, got {quantity.first_result}")
        if quantity.expected is not None:
            _check_interval(f"{where}.expected", quantity.expected)
            if not quantity.expected_because:
                raise ValueError(f"{where}.expected_because is not given")
        elif target.reduced is not None:
            raise ValueError(f"{where}.expected is not given, though there is a reduced budget")
    names = [quantity.name for quantity in target.quantities]
    _check_different("quantities", "name", names)
    if target.ablation is not None:
        if target.ablation.quantity:
            one_of("ablation.quantity", target.ablation.quantity, names)
        _check_different("ablation.changes", "what", [UNCHANGED, *(change.what for change in target.ablation.changes)])
    for budget in BUDGETS:
        if target.has(budget):
            _check_seeds(f"{budget}.seeds", target.seeds(budget))
    for name, of_runs in (("full", target.full), ("reduced", target.reduced)):
        minutes = of_runs.minutes if of_runs else None
        if minutes is not None and not 0 < minutes < math.inf:
            raise ValueError(f"{name}.minutes must be above 0, got {minutes}")


def _check_metric(where: str, name: str) -> None:
    found = parts(name)
    metric = found.metric
    if metric not in CATALOGUE and not (found.at is not None and metric.startswith(ON_THE_WAY)):
        raise ValueError(f"{where}: {metric!r} is not a metric{nearest(metric, list(CATALOGUE))}")


def _check_different(where: str, key: str, texts: Sequence[str]) -> None:
    repeated = [text for text, count in Counter(texts).items() if count > 1]
    if repeated:
        reserved = " (the name of the runs without a change)" if repeated[0] == UNCHANGED else ""
        raise ValueError(f"{where}: each {key} must be another one, got {repeated[0]!r} twice{reserved}")


def _check_seeds(where: str, seeds: Sequence[int]) -> None:
    if not seeds:
        raise ValueError(f"{where} must not be empty")
    if len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise ValueError(f"{where} must be different whole numbers from 0, got {seeds}")


def _check_spread(where: str, quantity: Quantity, seeds: Sequence[int]) -> None:
    if quantity.spread is None:
        return
    if not quantity.spread > 0 or quantity.published is None:
        raise ValueError(f"{where}.spread must be above 0 and stand beside a published number, got {quantity.spread}")
    if len(seeds) < 2:
        raise ValueError(f"{where}.spread needs several full.seeds, got {seeds}: one run has no spread to compare")


def _check_interval(where: str, ends: list[float | None]) -> None:
    if len(ends) != 2 or ends == [None, None]:
        raise ValueError(f"{where} must be [low, high], one of them null at most, got {ends}")
    low, high = open_ends(ends)
    if not low < high:
        raise ValueError(f"{where} must be [low, high] with low below high, got {ends}")


def _lies_in(value: float, ends: list[float | None]) -> bool:
    low, high = open_ends(ends)
    return low <= value <= high


def open_ends(ends: Sequence[float | None]) -> tuple[float, float]:
    """The ends of an interval; infinity for an end that is missing."""
    return -math.inf if ends[0] is None else ends[0], math.inf if ends[1] is None else ends[1]


def read_targets(paths: Iterable[Path]) -> dict[str, Target]:
    """Read the targets in these files, by id. Raises :class:`UserError`."""
    targets = {path.stem: read_target(path) for path in sorted(paths, key=lambda path: path.stem)}
    known = {"variant": list(summaries()), "dataset": choices("dataset"), "profile": choices("profile")}
    for target in targets.values():
        try:
            for name, arm in target.arms.items():
                if arm.of is not None:
                    _check_other(target, name, arm.of, targets)
                    continue
                for kind, allowed in known.items():
                    one_of(f"arms.{name}.{kind}", getattr(arm, kind), allowed)
        except ValueError as error:
            raise UserError(f"{target.file}: {error}") from error
    return targets


def _check_other(target: Target, name: str, of: str, targets: Mapping[str, Target]) -> None:
    """Raise ``ValueError`` if the arm ``name`` cannot use the arm of the target ``of``."""
    where = f"arms.{name}.of"
    one_of(where, of, targets)
    if len(targets[of].arms) != 1 or targets[of].only_arm.of:
        raise ValueError(f"{where} must have one arm of its own, got {of!r}")
    if target.reduced is not None and targets[of].reduced is None:
        raise ValueError(f"{where}: {of!r} has no reduced budget, though {target.id!r} has one")
    if target.ablation is not None and name in (target.ablated.arm, target.ablated.minus):
        raise ValueError(f"{where}: an ablation needs a variant in its place")


def all_targets() -> dict[str, Target]:
    """All targets of the suite and of the user's folders, by id. Raises :class:`UserError`."""
    check_files()
    return read_targets(files("paper").values())
