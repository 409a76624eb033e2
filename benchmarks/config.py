"""The configuration of a cell: composed by Hydra from ``conf/``, then checked against typed schemas.

All values are checked here, before data or weights are loaded.
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import torch
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException
from yaml import YAMLError

import variants
from benchmarks.arguments import values_of
from benchmarks.conf_files import GIVEN_IMAGES, check_files, choices, conf_folder, conf_path, files, origin, shown
from benchmarks.data import CONDITIONS, DatasetConfig
from benchmarks.errors import UserError
from benchmarks.records.checks import LONGEST_RUN_ID, check_name, check_plain, printable
from benchmarks.records.identity import earlier_run_id, run_id
from benchmarks.seeding import kept_random_state
from variants.options import (
    KINDS,
    added,
    between,
    increasing,
    not_negative,
    one_of,
    plain,
    positive,
    unknown,
    without_effect,
)
from variants.own_files import OwnFileError
from variants.parts.networks import NETWORKS, Network
from variants.parts.observations import observation_model

# Optimisers -> their options, without those that every optimiser has.
OPTIMISERS = {
    "adam": ("beta1", "beta2", "epsilon"),
    "adamw": ("beta1", "beta2", "epsilon"),
    "adamax": ("beta1", "beta2", "epsilon"),
    "rmsprop": ("smoothing", "centred", "momentum", "epsilon"),
    "adagrad": ("epsilon",),
    "adadelta": ("smoothing", "epsilon"),
    "sgd": ("momentum",),
}
SCHEDULES = ("constant", "cosine", "burda", "multi_step")
PRECISIONS = ("fp32", "tf32", "bf16")
COMPILATIONS = ("auto", "on", "off")
INCEPTION_PRECISIONS = ("fp32", "bf16")
SELECTIONS = ("last", "validation")
SELECTED_BY = ("elbo", "objective")

# Largest whole number in a configuration. No count or seed is larger, and torch accepts no number above 2^63.
LARGEST_WHOLE = 2**32 - 1

T = TypeVar("T")


@dataclass
class TrainingConfig:
    """The budget, the optimiser, validation and measurements during training. A profile replaces the defaults below.

    Budget: ``epochs``, or ``steps``, which replaces ``epochs`` if it is given. The last epoch may then be incomplete.

    Optimiser: ``optimiser`` is "adam", "adamw", "adamax", "rmsprop", "adagrad", "adadelta" or "sgd"; ``precision`` is
    "fp32", "tf32" or "bf16". ``weight_decay`` is an L2 penalty added to the gradient, but decoupled weight decay for
    "adamw". "rmsprop" divides the gradient g by sqrt(E[g^2]) + ``epsilon``, or if ``centred`` by sqrt(E[g^2] - E[g]^2)
    + ``epsilon``, where ``smoothing`` is the decay of the running averages. "adadelta" uses ``smoothing`` for its
    averages of squared gradients and squared updates. ``momentum`` applies to "rmsprop" and "sgd". ``gradient_clip`` is
    the maximum global norm of the gradient of a group of parameters; None does not clip.

    Learning rate: ``warmup`` is the fraction of the budget over which the learning rate rises linearly from 0.
    ``schedule`` is "constant", "cosine", "burda" (the stages of Burda et al. 2016) or "multi_step", which multiplies it
    by ``gamma`` after each of the epochs in ``milestones``.

    Validation: every ``validate_every`` epochs or ``validate_every_steps`` steps, and at the end, on
    ``validation_images`` images with ``validation_samples`` posterior samples each. With more than one sample, log p(x)
    is estimated too. ``select`` "validation" evaluates the weights with the best validation instead of the last ones.
    The best validation has the highest ELBO, or with ``select_by`` "objective" the lowest loss of the variant.
    ``patience`` ends training after this number of validations without an improvement.

    ``compile`` "on" compiles the loss and its gradients at the start of training, which takes about 15 seconds. "auto"
    compiles on a CPU, if the training time is many times as long. Compiled steps round differently, so a compiled run
    is a different run.

    ``measure_at``: numbers of epochs, or of steps if ``steps`` is given, after which the weights are measured on test
    images for the record. 0 is before training.
    """

    epochs: int = 12
    batch_size: int = 100
    optimiser: str = "adam"
    learning_rate: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    schedule: str = "constant"
    warmup: float = 0.0
    gradient_clip: float | None = None
    precision: str = "fp32"
    select: str = "last"
    patience: int | None = None
    validate_every: int = 1
    validation_images: int = 2000
    validation_samples: int = 1
    steps: int | None = added(None)
    smoothing: float = added(0.99)
    centred: bool = added(False)
    momentum: float = added(0.0)
    milestones: list[int] | None = added(None)
    gamma: float = added(0.1)
    validate_every_steps: int | None = added(None)
    select_by: str = added("elbo")
    measure_at: list[int] | None = added(None)
    compile: str = added("off")

    def __post_init__(self) -> None:
        positive("training.epochs", self.epochs)
        positive("training.batch_size", self.batch_size)
        one_of("training.optimiser", self.optimiser, OPTIMISERS)
        positive("training.learning_rate", self.learning_rate)
        for name in ("beta1", "beta2", "smoothing"):
            between(f"training.{name}", getattr(self, name), 0, 1)
            if getattr(self, name) == 1:
                raise ValueError(f"training.{name} must be below 1")
        between("training.momentum", self.momentum, 0, 1)
        if self.momentum == 1:
            raise ValueError("training.momentum must be below 1")
        positive("training.epsilon", self.epsilon)
        not_negative("training.weight_decay", self.weight_decay)
        one_of("training.schedule", self.schedule, SCHEDULES)
        between("training.warmup", self.warmup, 0, 1)
        if self.gradient_clip is not None:
            positive("training.gradient_clip", self.gradient_clip)
        one_of("training.precision", self.precision, PRECISIONS)
        # YAML reads on and off as true and false.
        self.compile = {"True": "on", "False": "off"}.get(self.compile, self.compile)
        one_of("training.compile", self.compile, COMPILATIONS)
        one_of("training.select", self.select, SELECTIONS)
        one_of("training.select_by", self.select_by, SELECTED_BY)
        if self.patience is not None:
            positive("training.patience", self.patience)
            if self.select != "validation":
                raise ValueError("training.patience needs training.select=validation")
        positive("training.validate_every", self.validate_every)
        positive("training.validation_images", self.validation_images)
        positive("training.validation_samples", self.validation_samples)
        for name in ("steps", "validate_every_steps"):
            if getattr(self, name) is not None:
                positive(f"training.{name}", getattr(self, name))
        positive("training.gamma", self.gamma)
        for name, least in (("milestones", 1), ("measure_at", 0)):
            if getattr(self, name) is not None:
                increasing(f"training.{name}", getattr(self, name), least)
        self._check_together()

    @property
    def length(self) -> tuple[int, str]:
        """The length of the budget and its unit, "epochs" or "steps"."""
        return (self.epochs, "epochs") if self.steps is None else (self.steps, "steps")

    def _check_together(self) -> None:
        """Raise ``ValueError`` for options that are inconsistent or have no effect because of other options."""
        for name in dict.fromkeys(name for options in OPTIMISERS.values() for name in options):
            if name not in OPTIMISERS[self.optimiser]:
                self._stays(name, f"{self.optimiser} has no such option")
        if self.schedule != "multi_step":
            for name in ("milestones", "gamma"):
                self._stays(name, f"it belongs to training.schedule=multi_step, not to {self.schedule}")
        elif self.milestones is None:
            raise ValueError("training.schedule=multi_step needs training.milestones, such as [200,350]")
        elif self.steps is None and self.milestones[-1] >= self.epochs:
            raise ValueError(f"training.milestones must be below training.epochs={self.epochs}, got {self.milestones}")
        if self.select != "validation":
            self._stays("select_by", "it belongs to training.select=validation")
        if self.steps is None and self.validate_every > self.epochs:
            raise ValueError(
                f"training.validate_every must be at most training.epochs={self.epochs}, got {self.validate_every}"
            )
        if self.steps is not None and self.validate_every_steps is not None and self.validate_every_steps > self.steps:
            raise ValueError(
                f"training.validate_every_steps must be at most training.steps={self.steps}, "
                f"got {self.validate_every_steps}"
            )
        if self.validate_every_steps is not None:
            self._stays("validate_every", "training.validate_every_steps is given in its place")
        budget, unit = self.length
        if self.measure_at is not None and self.measure_at[-1] > budget:
            raise ValueError(f"training.measure_at must end by training.{unit}={budget}, got {self.measure_at}")

    def _stays(self, name: str, reason: str) -> None:
        defaults = {option.name: option.default for option in dataclasses.fields(self)}
        without_effect(f"training.{name}", getattr(self, name), defaults[name], reason)


@dataclass
class EvaluationConfig:
    """Options of the evaluation.

    ``importance_samples``: K, the number of importance samples. ``images``: the number of test images, None for all.
    ``decodes``: the number of images decoded at once, which limits memory. ``generated_images``: the number of prior
    samples for sample quality. ``inception``: whether sample quality is also measured with Inception features, at about
    6 images/s on two CPU cores. ``inception_precision``: the precision of that network. "bf16" is up to four times as
    fast on a CPU that supports it, but changed distances by 1.3 and 2.2% with random weights; it could not be tested
    with the trained weights. ``probe_images``: the number of training images on whose codes classifiers and the mixture
    sampler are fitted. ``information_images``: the number of test images for mutual information if every pair of image
    and sample needs the inverse of a flow; otherwise all pairs are one matrix product and all ``images`` are used.
    ``cluster_starts``: the number of starts of k-means on codes, 0 for no clustering.
    """

    importance_samples: int = 100
    images: int | None = None
    decodes: int = 10_000
    generated_images: int = 10_000
    inception: bool = True
    inception_precision: str = "fp32"
    probe_images: int = 10_000
    information_images: int = 1000
    cluster_starts: int = added(0)

    def __post_init__(self) -> None:
        positive("evaluation.importance_samples", self.importance_samples)
        if self.images is not None and not self.images >= 2:
            raise ValueError(f"evaluation.images must be 2 or above, got {self.images}")
        positive("evaluation.decodes", self.decodes)
        if not self.generated_images >= 2:
            raise ValueError(f"evaluation.generated_images must be 2 or above, got {self.generated_images}")
        one_of("evaluation.inception_precision", self.inception_precision, INCEPTION_PRECISIONS)
        if not self.inception:
            without_effect(
                "evaluation.inception_precision", self.inception_precision, "fp32", "evaluation.inception is false"
            )
        positive("evaluation.probe_images", self.probe_images)
        positive("evaluation.information_images", self.information_images)
        not_negative("evaluation.cluster_starts", self.cluster_starts)


@dataclass
class Config:
    """Everything that affects the result of a cell. ``variant`` is an instance of the variant's own ``Config``."""

    variant_name: str
    network_name: str
    variant: variants.VariantConfig
    network: Network
    dataset: DatasetConfig
    profile: str
    seed: int
    training: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    # The overrides as the user gave them. Their effect is contained in the fields above.
    overrides: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        between("seed", self.seed, 0, 2**32 - 1)
        self._check_names()
        cls = variants.lookup(self.variant_name)
        cls.check(self.variant, self.network, self.dataset.side)
        if self.dataset.shape is not None:
            self.network.check_images(self.dataset.shape)
        if self.training.batch_size < cls.smallest_batch:
            raise ValueError(
                f"training.batch_size must be {cls.smallest_batch} or above for {self.variant_name}, whose loss "
                f"compares the images of a batch, got {self.training.batch_size}"
            )
        if self.dataset.output == "linear" and getattr(self.variant, "loss", None) == "cross_entropy":
            raise ValueError(
                "variant.loss=cross_entropy needs pixels between 0 and 1, but dataset.output=linear is unbounded: set "
                "variant.loss=squared_error or dataset.output=sigmoid"
            )
        conditional, condition = cls.conditional, self.dataset.condition
        if conditional and condition == "none":
            known = [name for name in CONDITIONS if name != "none"]
            raise ValueError(
                f"variant {self.variant_name} needs a condition: set dataset.condition={known[0]} "
                f"(allowed: {', '.join(known)})"
            )
        if condition != "none" and not conditional:
            raise ValueError(
                f"dataset.condition={condition} has no effect on {self.variant_name}, which takes no condition"
            )

    def build(self, image_shape: tuple[int, int, int], condition: tuple[int, ...] | None = None) -> variants.Variant:
        """Make the variant. ``condition`` is the shape of the condition of an image, if there is one."""
        cls, data = variants.lookup(self.variant_name), self.dataset
        observation = observation_model(
            data.observation, image_shape, data.scale, cls.trains_observation, data.loss, data.loss_weight, data.output
        )
        return cls(self.variant, image_shape, self.network, observation, condition)

    def resolved(self) -> dict[str, Any]:
        """The configuration as plain data, as stored in the record."""
        return {
            "variant": {"name": self.variant_name, **plain(self.variant)},
            "network": {"name": self.network_name, **plain(self.network)},
            "dataset": plain(self.dataset),
            "training": plain(self.training),
            "evaluation": plain(self.evaluation),
            "profile": self.profile,
            "seed": self.seed,
        }

    def _check_names(self) -> None:
        """Raise ``ValueError`` for names and texts that cannot be part of the run's folder or its record."""
        names = (("variant.name", self.variant_name), ("dataset.name", self.dataset.name), ("profile", self.profile))
        for where, name in names:
            check_name(where, name)
        if len(self.run_id.encode()) > LONGEST_RUN_ID:
            raise ValueError(f"the run id {self.run_id!r} is longer than {LONGEST_RUN_ID} bytes: use shorter names")
        check_plain("the configuration", self.resolved())
        for name in ("title", "path", "labels"):
            text = getattr(self.dataset, name)
            if text is not None and printable(text) != text:
                raise ValueError(f"dataset.{name} has invisible characters: {text!r}")

    @property
    def run_id(self) -> str:
        """The run id: <dataset>-<variant>-<profile>-s<seed>-<hash of what affects the result>."""
        return run_id(self.resolved())

    @property
    def earlier_run_id(self) -> str:
        """The run id in an earlier version of the suite. It differs only for a user's own data."""
        return earlier_run_id(self.resolved())


def store_schemas() -> None:
    """Store the defaults of all dataclasses in Hydra's ConfigStore, so that every option can be overridden by name."""
    _store_schemas(tuple(variants.names()))


@cache
def _store_schemas(names: tuple[str, ...]) -> None:
    """Store the schemas once for these names; again if a variant was registered since then, as in a notebook."""
    store = ConfigStore.instance()
    for name in names:
        try:
            store.store(group="variant", name=name, node={"name": name, **_defaults(variants.lookup(name).Config)})
        except OmegaConfBaseException as error:
            raise UserError(f"variant {name!r}, option {error.full_key}: {_one_line(error)}") from error
    for name, network in NETWORKS.items():
        store.store(group="network", name=name, node={"name": name, **_defaults(network)})
    sections = {"dataset": DatasetConfig, "training": TrainingConfig, "evaluation": EvaluationConfig}
    store.store(name="schema", node={section: _defaults(schema) for section, schema in sections.items()})


def _defaults(schema: type) -> dict[str, Any]:
    values = {}
    for option in dataclasses.fields(schema):
        if option.default is not dataclasses.MISSING:
            values[option.name] = option.default
        elif option.default_factory is not dataclasses.MISSING:
            values[option.name] = option.default_factory()
    return values


def compose(variant: str, dataset: str, profile: str, seed: int, overrides: Sequence[str] = ()) -> Config:
    """Compose a cell's configuration with Hydra ``overrides`` (``variant.beta=8``). Raises :class:`UserError`."""
    return compose_seeds(variant, dataset, profile, [seed], overrides)[0]


def compose_seeds(
    variant: str, dataset: str, profile: str, seeds: Sequence[int], overrides: Sequence[str] = ()
) -> list[Config]:
    """Like :func:`compose`, for several seeds. Hydra composes once, unless an option is interpolated from others."""
    if dataset not in choices("dataset"):
        raise UserError(unknown("data set", dataset, choices("dataset")))
    return _composed_seeds(variant, dataset, profile, seeds, overrides)


def _composed_seeds(
    variant: str, dataset: str, profile: str, seeds: Sequence[int], overrides: Sequence[str]
) -> list[Config]:
    for kind, name, allowed in (("variant", variant, _variant_names()), ("profile", profile, choices("profile"))):
        if name not in allowed:
            raise UserError(unknown(kind, name, allowed))
    check_files()
    for override in overrides:
        if values_of(override) != [override]:
            raise UserError(f"{override!r} gives several values, and one run takes one")
        # Checked here, because the group is optional and Hydra would accept any name.
        key, _, name = override.lstrip("+").partition("=")
        if key == "budget" and name not in (budgets := choices("budget")):
            raise UserError(unknown("budget", name, budgets))
        if key == "network" and name not in (networks := choices("network")) and re.fullmatch(r"\w+", name):
            raise UserError(unknown("network", name, networks))
    with _refusals(variant, dataset, profile, overrides):
        first, interpolated = _compose(variant, dataset, profile, seeds[0], overrides)
        _check_outliers(first.dataset)
        _check_buildable(first)
        if interpolated:
            return [first, *(_compose(variant, dataset, profile, seed, overrides)[0] for seed in seeds[1:])]
        return [first, *(dataclasses.replace(copy.deepcopy(first), seed=seed) for seed in seeds[1:])]


def compose_for_images(
    variant: str, dataset: DatasetConfig, profile: str, seed: int, overrides: Sequence[str] = ()
) -> Config:
    """Like :func:`compose`, for images in memory instead of a data set of ``conf/``. ``dataset`` describes how they are
    observed and has the name ``GIVEN_IMAGES``."""
    ConfigStore.instance().store(group="dataset", name=GIVEN_IMAGES, node=plain(dataset))
    return _composed_seeds(variant, GIVEN_IMAGES, profile, [seed], overrides)[0]


def _check_outliers(config: DatasetConfig) -> None:
    """Raise ``ValueError`` if ``dataset.outliers`` is not a data set, or has the same images as ``config``."""
    name = config.outliers
    if name in ("default", "none"):
        return
    one_of("dataset.outliers", name, ["default", "none", *choices("dataset")])
    other = outlier_dataset(config, name)
    if (other.source, other.path) == (config.source, config.path):
        raise ValueError(f"dataset.outliers={name} has the same images as {config.name}")


def _check_buildable(config: Config) -> None:
    """Raise ``ValueError`` if the variant cannot be built for the images, as far as the configuration determines their
    shape."""
    shape = config.dataset.shape
    if shape is None:
        return
    condition: tuple[int, ...] | None = None
    if config.dataset.condition != "none":
        # The number of classes is known when the data are loaded. Here any number will do.
        condition = (2,) if config.dataset.condition == "label" else (shape[0] + 1, *shape[1:])
    # On the meta device no weights are drawn.
    with kept_random_state(), torch.device("meta"):
        try:
            config.build(shape, condition)
        except ValueError:
            raise
        except Exception:
            # A model that needs the values of its weights cannot be built there.
            return


def outlier_dataset(config: DatasetConfig, name: str) -> DatasetConfig:
    """The configuration of the data set ``name``, whose images are outliers for the data set of ``config``. Raises
    :class:`UserError` for an unknown name."""
    if config.outliers == "default":
        # Only the images of a source of the suite are needed. Composing with Hydra would take longer than loading them.
        return DatasetConfig(name=name, source=name, observation="discretised_logistic")
    return dataset_of(name)


def dataset_of(name: str) -> DatasetConfig:
    """The configuration of the data set ``name`` in ``conf/``, without its condition, which its images do not depend
    on. Raises :class:`UserError`."""
    # Which unconditional variant does not matter. The profile is long, because a data set can set training.milestones.
    return compose("vae", name, "standard", 0, ["dataset.condition=none"]).dataset


def check_choices() -> None:
    """Compose with each data set, profile and budget. Raises :class:`UserError`."""
    for dataset in files("dataset"):
        dataset_of(dataset)
        for profile in files("profile"):
            if f"{dataset}_{profile}" in files("budget"):
                compose("vae", dataset, profile, 0, ["dataset.condition=none"])
    for profile in files("profile"):
        compose("vae", "digits", profile, 0)


def _variant_names() -> list[str]:
    try:
        return variants.names()
    except OwnFileError as error:
        raise UserError(str(error)) from error


@contextmanager
def _refusals(variant: str, dataset: str, profile: str, overrides: Sequence[str]) -> Iterator[None]:
    """Convert errors of composing and checking to :class:`UserError`. An error in a configuration file begins with its
    path."""
    try:
        yield
    except UserError:
        raise
    except (HydraException, OmegaConfBaseException, YAMLError, ValueError, TypeError, RecursionError) as error:
        # Hydra names the file whose list of defaults it cannot read.
        if found := re.match(r"In '([\w/]+)/([\w-]+)': (.*)", str(error)):
            raise UserError(f"{shown(files(found[1])[found[2]])}: defaults: {found[3]}") from error
        message = _refused_key(error, variant) or _one_line(error)
        given = {override.lstrip("+").partition("=")[0]: override.partition("=")[2] for override in overrides}
        option = re.search(r"\b(variant|network|dataset|training|evaluation)\.\w+", message)
        if option and option[0] not in given:
            message = origin(option[0], _composed_files(dataset, profile, given)) + message
        raise UserError(message) from error


def _composed_files(dataset: str, profile: str, given: Mapping[str, str]) -> list[Path]:
    """The files of a composition with the overrides ``given``, in reverse order: the first one that sets an option
    decides."""
    names = {"budget": f"{dataset}_{profile}", "dataset": dataset, "network": "", "profile": profile}
    names |= {group: given[group] for group in ("budget", "network") if group in given}
    return [files(group)[name] for group, name in names.items() if name in files(group)]


def _compose(variant: str, dataset: str, profile: str, seed: int, overrides: Sequence[str]) -> tuple[Config, bool]:
    """The configuration, and whether any of its values is interpolated, for example from the seed."""
    composed = _composed([*_arguments(variant, dataset, profile, seed), search_path(), *overrides])
    given: dict[str, Any] = OmegaConf.to_container(composed, resolve=True)  # type: ignore[assignment]
    _check_sections(given)
    if given["profile"] != profile:
        raise ValueError(f"profile must stay {profile!r}, got {given['profile']!r}")
    config = from_plain(given)
    for override in overrides:
        if override.lstrip("+").startswith("training.epochs=") and config.training.steps is not None:
            raise ValueError(
                f"{override} has no effect beside training.steps={config.training.steps}, which replaces it: give one "
                "of them, or training.steps=null"
            )
    if config.dataset.name != dataset:
        raise ValueError(f"dataset.name must be the name of its file, {dataset!r}, got {config.dataset.name!r}")
    # Checked here for all options, because the hash of the run id supports only finite numbers.
    for key, value in _leaves(config.resolved()):
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{key} must be finite, got {value}")
        if isinstance(value, int) and abs(value) > LARGEST_WHOLE:
            raise ValueError(f"{key} must be at most {LARGEST_WHOLE:,}, got {value:.3g}")
    interpolated = "${" in repr(OmegaConf.to_container(composed, resolve=False))
    return dataclasses.replace(config, overrides=tuple(overrides)), interpolated


def _composed(overrides: Sequence[str]) -> DictConfig:
    """Compose with Hydra, without checking the values."""
    store_schemas()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return hydra_compose("config", list(overrides))


def _check_sections(given: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` if a part of the configuration or a value is missing; overrides can delete them."""
    for section in ("network", "variant", "dataset", "training", "evaluation"):
        if not isinstance(given.get(section), dict):
            raise ValueError(f"{section} must be a group of options, got {given.get(section)!r}")
    for section in ("network", "variant"):
        if not isinstance(given[section].get("name"), str):
            raise ValueError(f"{section}.name must be a name, got {given[section].get('name')!r}")
    for key, value in _leaves(dict(given)):
        # OmegaConf's mark of a missing value.
        if value == "???":
            raise ValueError(f"{key} must have a value, got '???'")
    for key in ("profile", "seed"):
        if given.get(key) is None:
            raise ValueError(f"{key} is not given")


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _leaves(part, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for part in value:
            yield from _leaves(part, key)
    else:
        yield key, value


def fitting(names: Sequence[str], dataset: str, profile: str, overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """Select the variants that fit a configuration: conditional variants if the data set has a condition, otherwise the
    unconditional ones, and only those that accept the overridden options. Returns the names, and lines that say which
    variants were left out and why."""
    options = [text.lstrip("+") for text in overrides if text.lstrip("+").startswith("variant.")]
    others = [text for text in overrides if text.lstrip("+") not in options]
    try:
        composed = _composed([*_arguments(names[0], dataset, profile, 0), search_path(), *others])
        given: dict[str, Any] = OmegaConf.to_container(composed, resolve=True)  # type: ignore[assignment]
        _check_sections(given)
    except (HydraException, OmegaConfBaseException, ValueError):
        # The same error is raised, with its reason, when the runs are composed.
        return list(names), []
    reasons = {name: _unsuited(name, given, options) for name in names}
    kept = [name for name in names if not reasons[name]]
    if not kept:
        # No variant accepts the overrides, so they are wrong: composing the runs will raise the error.
        conditional = given["dataset"].get("condition") != "none"
        return [name for name in names if variants.lookup(name).conditional == conditional] or list(names), []
    left_out: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        if reason:
            left_out.setdefault(reason, []).append(name)
    return kept, [f"{dataset}: skipping {', '.join(named)}: {why}" for why, named in left_out.items()]


def _unsuited(name: str, given: Mapping[str, Any], options: Sequence[str]) -> str:
    """Why a variant does not accept a configuration, ``given`` as plain data with any variant, with the overrides
    ``options`` of the variant; "" if it does."""
    cls, condition = variants.lookup(name), given["dataset"].get("condition")
    if cls.conditional and condition == "none":
        return "needs dataset.condition"
    if not cls.conditional and condition != "none":
        return f"takes no condition, but dataset.condition is {condition}"
    for option in options:
        key = re.split(r"[.=]", option)[1]
        if key not in _options(cls.Config):
            return f"no option {key!r}"
    own = cls.dataset_defaults.get(str(given["dataset"].get("name")), {})
    values = OmegaConf.from_dotlist([option.removeprefix("variant.") for option in options])
    try:
        changed: dict[str, Any] = OmegaConf.to_container(values)  # type: ignore[assignment]
        _check_buildable(from_plain({**given, "variant": {"name": name, **own, **changed}}))
    except (ValueError, TypeError, OmegaConfBaseException) as error:
        return _one_line(error)
    return ""


def arguments_of(config: Config) -> list[str]:
    """The Hydra overrides that select this cell, without the user's overrides."""
    return _arguments(config.variant_name, config.dataset.name, config.profile, config.seed)


def _arguments(variant: str, dataset: str, profile: str, seed: int) -> list[str]:
    per_dataset = variants.lookup(variant).dataset_defaults.get(dataset, {})
    own = [f"variant.{key}={value}" for key, value in per_dataset.items()]
    return [f"variant={variant}", f"dataset={dataset}", f"profile={profile}", f"seed={seed}", *own]


def search_path() -> str:
    """The Hydra override that adds the user's folders to the search path."""
    return "hydra.searchpath=[" + ",".join(quoted(f"file://{folder}") for folder in conf_path()) + "]"


def quoted(text: str) -> str:
    """``text`` as a quoted string in the grammar of Hydra's overrides."""
    # A backslash must be doubled only before a quote or at the end.
    escaped = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), text)
    return f"'{escaped}'"


def _refused_key(error: Exception, variant: str) -> str | None:
    """The message for a key that Hydra does not know, with the keys that exist; None for other errors."""
    found = re.search(r"Could not override '([^']*)'", str(error))
    if not found:
        return None
    section, _, key = found[1].rpartition(".")
    schemas: dict[str, tuple[type, ...]] = {
        "variant": (variants.lookup(variant).Config,), "network": tuple(NETWORKS.values()),
        "dataset": (DatasetConfig,), "training": (TrainingConfig,), "evaluation": (EvaluationConfig,),
    }  # fmt: skip
    known = {name: [option for schema in of for option in _options(schema)] for name, of in schemas.items()}
    if section in known:
        return str(_unknown_option(section, key, known[section], variant))
    if not section:
        near = difflib.get_close_matches(key, [option for options in known.values() for option in options], n=1)
        places = [f"{name}.{option}" for name, options in known.items() for option in dict.fromkeys(options)
                  if option in near]  # fmt: skip
        if places:
            return f"unknown option {key!r}; did you mean {' or '.join(map(repr, places))}?"
    return str(unknown("group of options", section or key, known))


def _options(schema: type) -> list[str]:
    return [option.name for option in dataclasses.fields(schema)]


def _unknown_option(section: str, key: str, known: Sequence[str], variant: str) -> ValueError:
    """The error for an option that does not exist. It names the given option, the nearest match, the allowed options,
    and for an option of a variant the variants that have it."""
    if section == "network":
        owners = {name: _options(schema) for name, schema in NETWORKS.items()}
    else:
        owners = {name: _options(variants.lookup(name).Config) for name in variants.names() if section == "variant"}
    having = [name for name, options in owners.items() if key in options]
    if section == "network" and having:
        return ValueError(f"option 'network.{key}' is one of network={' or '.join(having)}, not of the chosen network")
    near = difflib.get_close_matches(key, known, n=1)
    of = f" of {variant}" if section == "variant" else ""
    if having:
        hint = ""
    elif near:
        hint = f"; did you mean {f'{section}.{near[0]}'!r}?"
    else:
        elsewhere = {option: name for name, options in owners.items() for option in options}
        near = difflib.get_close_matches(key, elsewhere, n=1)
        hint = f"; did you mean {f'{section}.{near[0]}'!r}, an option of {elsewhere[near[0]]}?" if near else ""
    allowed = f" (allowed: {', '.join(sorted(set(known)))})"
    others = f"; variants that have it: {', '.join(having)}" if having else ""
    return ValueError(f"unknown option {f'{section}.{key}'!r}{of}{hint}{allowed}{others}")


def from_plain(given: dict[str, Any]) -> Config:
    """Make and check a configuration from plain data, from Hydra or from a record. Raises ``ValueError``.

    Texts are taken literally: nothing is interpolated.
    """
    rest = dict(given)
    for section in ("network", "variant", "dataset", "seed", "profile"):
        if section not in rest:
            raise ValueError(f"the configuration has no {section}")
    network, variant = dict(rest.pop("network")), dict(rest.pop("variant"))
    network_name, variant_name = network.pop("name", ""), variant.pop("name", "")
    one_of("network", network_name, NETWORKS)
    parts = {
        "network": _typed(NETWORKS[network_name], network, "network"),
        "variant": _typed(variants.lookup(variant_name).Config, variant, "variant", variant_name),
        "dataset": _typed(DatasetConfig, rest.pop("dataset"), "dataset"),
        "training": _typed(TrainingConfig, rest.pop("training", {}), "training"),
        "evaluation": _typed(EvaluationConfig, rest.pop("evaluation", {}), "evaluation"),
    }
    for key in rest:
        one_of("configuration key", key, {"profile", "seed", *parts})
    seed, profile = rest["seed"], rest["profile"]
    if not isinstance(seed, int):
        raise ValueError(f"seed must be a whole number, got {seed!r}")
    return Config(variant_name=variant_name, network_name=network_name, seed=seed, profile=str(profile), **parts)  # type: ignore[arg-type]


def evaluation_with(base: EvaluationConfig, options: dict[str, Any]) -> EvaluationConfig:
    """``base`` with other ``options``, given as Python values. Raises ``ValueError`` for unknown names and wrong types,
    also for a text that stands for a number."""
    for key, value in options.items():
        if isinstance(value, str) and (kind := _kind(EvaluationConfig, key)) not in (None, KINDS[str]):
            raise ValueError(f"evaluation.{key} must be {kind}, got {value!r}")
    return _typed(EvaluationConfig, dataclasses.asdict(base) | options, "evaluation")


def _typed(schema: type[T], values: dict[str, Any], where: str, variant: str = "") -> T:
    """``values`` as an instance of the dataclass ``schema``. Raises ``ValueError`` for unknown keys and wrong types."""
    known = _options(schema)
    for key in values:
        if key not in known:
            raise _unknown_option(where, str(key), known, variant)
    try:
        literal = {key: _literal(value) for key, value in values.items()}
        merged: Any = OmegaConf.merge(OmegaConf.structured(schema), literal)
        for key, value in values.items():
            # OmegaConf takes numbers and some texts for booleans.
            if isinstance(merged[key], bool) and not isinstance(value, bool):
                raise ValueError(f"{where}.{key} must be {KINDS[bool]}, got {value!r}")
        return OmegaConf.to_object(merged)  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        # The key in the error is relative to the section and may contain a list index.
        key = re.split(r"[.\[]", error.full_key or "", maxsplit=1)[0]
        kind = _kind(schema, key)
        if kind is None or key not in values:
            raise ValueError(f"{where}.{key}: {_one_line(error)}" if key else f"{where}: {_one_line(error)}") from error
        raise ValueError(f"{where}.{key} must be {kind}, got {values[key]!r}") from error


def _kind(schema: type, key: str) -> str | None:
    """What the value of an option must be, for messages; None if its type is not in ``KINDS``."""
    try:
        hint = get_type_hints(schema)[key]
    except (KeyError, NameError, TypeError):
        return None
    alternatives = get_args(hint) if isinstance(hint, UnionType) or get_origin(hint) is Union else (hint,)
    words = [KINDS.get(one) for one in alternatives if one is not type(None)]
    if len(words) != 1 or words[0] is None:
        return None
    return words[0] + (" or null" if type(None) in alternatives else "")


def _literal(value: Any) -> Any:
    """Escape ``value`` so that OmegaConf takes its texts literally. Raises ``ValueError`` for "???", which marks a
    missing value in OmegaConf and cannot be escaped."""
    if isinstance(value, str):
        if value == "???":
            raise ValueError("'???' marks a value that is missing")
        return re.sub(r"(\\*)\$\{", lambda found: 2 * found[1] + r"\${", value)
    if isinstance(value, dict):
        return {key: _literal(entry) for key, entry in value.items()}
    return [_literal(entry) for entry in value] if isinstance(value, list) else value


def _one_line(error: Exception) -> str:
    """The message of a library's error on one line, without the trailing lines about its context."""
    key = error.full_key if isinstance(error, InterpolationResolutionError) else None
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    kept = [line for line in lines if not re.match(r"(full_key|object_type|reference_type|at \[Source)", line)]
    return " ".join([f"{key}:", *kept] if key else kept)


def variant_families() -> dict[str, list[str]]:
    """Family of variants -> names of its variants, in the order of ``variants.FAMILIES``, without empty families."""
    of = {name: variants.lookup(name).family for name in variants.names()}
    groups = {family: [name for name in of if of[name] == family] for family in variants.FAMILIES}
    return {family: names for family, names in groups.items() if names}


def split_list(
    text: str, kind: str, allowed: Iterable[str], groups: Mapping[str, Sequence[str]] | None = None
) -> list[str]:
    """Split "a,b" or "all" into names. The name of one of the ``groups`` ("posteriors and priors", or
    "posteriors-and-priors") is replaced with the names in it. Raises :class:`UserError` for an empty list or an unknown
    name."""
    known = list(allowed)
    members = {group.replace(" ", "-"): list(names) for group, names in (groups or {}).items()}
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UserError(f"no {kind} given (allowed: all, {', '.join(known)})")
    if names == ["all"]:
        return known
    if "all" in names:
        raise UserError(f"'all' stands alone, without other names, got {text!r}")
    found: list[str] = []
    for name in names:
        group = name.replace(" ", "-")
        if name not in known and group not in members:
            raise UserError(unknown(kind, name, ["all", *known, *members]))
        found += [name] if name in known else members[group]
    return list(dict.fromkeys(found))
