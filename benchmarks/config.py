"""A cell's configuration: composed by Hydra from ``conf/``, then checked against typed schemas.

Every value is checked here, before data or weights are touched.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

import variants
from benchmarks.data import CONDITIONS, DatasetConfig
from benchmarks.errors import UserError
from benchmarks.records.checks import LONGEST_RUN_ID, check_name, check_plain, printable
from benchmarks.records.identity import earlier_run_id, run_id
from variants.options import between, not_negative, one_of, plain, positive, unknown
from variants.parts.networks import NETWORKS, Network

OPTIMISERS = ("adam", "adamw", "adamax", "sgd")
SCHEDULES = ("constant", "cosine", "burda")
PRECISIONS = ("fp32", "tf32", "bf16")
INCEPTION_PRECISIONS = ("fp32", "bf16")
CONF_VARIABLE = "VAE_CONF_PATH"
SELECTIONS = ("last", "validation")


@dataclass
class TrainingConfig:
    """The budget and the optimiser. ``gradient_clip`` is a global norm, None for none; ``warmup`` the fraction of the
    budget over which the learning rate rises from 0. ``select`` "validation" reports the weights of the epoch with the
    best validation ELBO instead of the last ones; ``patience`` then ends training after so many epochs without a better
    one. Validation takes ``validation_images`` images every ``validate_every`` epochs, and
    ``validation_samples`` posterior samples an image: more than one also gives log p(x)."""

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

    def __post_init__(self) -> None:
        positive("training.epochs", self.epochs)
        positive("training.batch_size", self.batch_size)
        one_of("training.optimiser", self.optimiser, OPTIMISERS)
        positive("training.learning_rate", self.learning_rate)
        between("training.beta1", self.beta1, 0, 1)
        between("training.beta2", self.beta2, 0, 1)
        positive("training.epsilon", self.epsilon)
        not_negative("training.weight_decay", self.weight_decay)
        one_of("training.schedule", self.schedule, SCHEDULES)
        between("training.warmup", self.warmup, 0, 1)
        if self.gradient_clip is not None:
            positive("training.gradient_clip", self.gradient_clip)
        one_of("training.precision", self.precision, PRECISIONS)
        one_of("training.select", self.select, SELECTIONS)
        if self.patience is not None:
            positive("training.patience", self.patience)
            if self.select != "validation":
                raise ValueError("training.patience needs training.select=validation")
        positive("training.validate_every", self.validate_every)
        positive("training.validation_images", self.validation_images)
        positive("training.validation_samples", self.validation_samples)


@dataclass
class EvaluationConfig:
    """``importance_samples`` is K; ``images`` the number of test images, None for all; ``decodes`` the number of images
    decoded at once, which bounds the memory; ``generated_images`` the number of draws from the prior that are judged;
    ``inception`` whether that is measured in Inception's features too, about 6 images/s on two CPU cores, and
    ``inception_precision`` what that network computes in: "bf16" is up to four times as fast on a CPU that has it, but
    moved distances by 1.3 and 2.2% with random weights, the only ones that it could be tried with;
    ``probe_images`` the number of training images on whose codes classifiers and the mixture sampler are fitted;
    ``information_images`` the number of test images for mutual information where each pair of image and draw costs a
    flow's inverse; elsewhere all pairs are one matrix product, and all ``images`` are used."""

    importance_samples: int = 100
    images: int | None = None
    decodes: int = 10_000
    generated_images: int = 10_000
    inception: bool = True
    inception_precision: str = "fp32"
    probe_images: int = 10_000
    information_images: int = 1000

    def __post_init__(self) -> None:
        positive("evaluation.importance_samples", self.importance_samples)
        if self.images is not None:
            positive("evaluation.images", self.images)
        positive("evaluation.decodes", self.decodes)
        if not self.generated_images >= 2:
            raise ValueError(f"evaluation.generated_images must be 2 or above, got {self.generated_images}")
        one_of("evaluation.inception_precision", self.inception_precision, INCEPTION_PRECISIONS)
        positive("evaluation.probe_images", self.probe_images)
        positive("evaluation.information_images", self.information_images)


@dataclass
class Config:
    """Everything that affects a cell's result. ``variant`` is the registered name's own ``Config``."""

    variant_name: str
    network_name: str
    variant: variants.VariantConfig
    network: Network
    dataset: DatasetConfig
    profile: str
    seed: int
    training: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    # How the user asked for it; what that changed is in the fields above.
    overrides: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        between("seed", self.seed, 0, 2**32 - 1)
        self._check_names()
        conditional, condition = variants.lookup(self.variant_name).conditional, self.dataset.condition
        if conditional and condition == "none":
            others = ", ".join(name for name in CONDITIONS if name != "none")
            raise ValueError(
                f"variant {self.variant_name} models images given a condition: set dataset.condition={others}"
            )
        if condition != "none" and not conditional:
            raise ValueError(
                f"dataset.condition={condition} has no effect on {self.variant_name}, which takes no condition"
            )

    def resolved(self) -> dict[str, Any]:
        """The configuration as plain data, as it stands in the record."""
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
        """Refuse now, not after training, what cannot be a part of a run's folder or of its record."""
        names = (("variant.name", self.variant_name), ("dataset.name", self.dataset.name), ("profile", self.profile))
        for where, name in names:
            check_name(where, name)
        if len(self.run_id.encode()) > LONGEST_RUN_ID:
            raise ValueError(f"the run id {self.run_id!r} is longer than {LONGEST_RUN_ID} bytes: take shorter names")
        check_plain("the configuration", self.resolved())
        for name in ("title", "path", "labels"):
            text = getattr(self.dataset, name)
            if text is not None and printable(text) != text:
                raise ValueError(f"dataset.{name} has invisible characters: {text!r}")

    @property
    def run_id(self) -> str:
        """<dataset>-<variant>-<profile>-s<seed>-<hash of what affects the result>"""
        return run_id(self.resolved())

    @property
    def earlier_run_id(self) -> str:
        """The id that an earlier version gave this run; the same one but for a user's own data."""
        return earlier_run_id(self.resolved())


def conf_folder() -> Path:
    """The Hydra files: inside an installed package, at the top of a checkout."""
    here = Path(__file__).resolve().parent
    return here / "conf" if (here / "conf").is_dir() else here.parent / "conf"


def conf_path() -> list[Path]:
    """The user's folders of Hydra files, laid out as ``conf/``: those that the environment variable ``VAE_CONF_PATH``
    lists (separated as in ``PATH``). Raises :class:`UserError` for one that does not exist."""
    folders = [Path(part).resolve() for part in os.environ.get(CONF_VARIABLE, "").split(os.pathsep) if part]
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{CONF_VARIABLE} names {str(folder)!r}, which is not a folder")
    return folders


def choices(group: str) -> list[str]:
    """The options of a group: its files in ``conf/`` and the user's folders, and for networks those that are code."""
    folders = [conf_folder(), *conf_path()]
    files = {path.stem for folder in folders for path in (folder / group).glob("*.yaml")}
    return sorted(files | set(NETWORKS)) if group == "network" else sorted(files)


@cache
def store_schemas() -> None:
    """Enter every dataclass's defaults in Hydra's ConfigStore, so that each option can be overridden by its name."""
    store = ConfigStore.instance()
    for name in variants.names():
        store.store(group="variant", name=name, node={"name": name, **_defaults(variants.lookup(name).Config)})
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
    """One cell's configuration; ``overrides`` are Hydra's (``variant.beta=8``). Raises :class:`UserError`."""
    known = (("variant", variant, variants.names()), ("data set", dataset, choices("dataset")))
    for kind, name, allowed in (*known, ("profile", profile, choices("profile"))):
        if name not in allowed:
            raise UserError(unknown(kind, name, allowed))
    store_schemas()
    arguments = _arguments(variant, dataset, profile, seed)
    arguments.append(search_path())
    try:
        with initialize_config_dir(str(conf_folder()), version_base="1.3"):
            composed = hydra_compose("config", [*arguments, *overrides])
        config = from_plain(OmegaConf.to_container(composed, resolve=True))  # type: ignore[arg-type]
        if config.dataset.name != dataset:
            raise ValueError(f"dataset.name must be the name of its file, {dataset!r}, got {config.dataset.name!r}")
        return dataclasses.replace(config, overrides=tuple(overrides))
    except (HydraException, OmegaConfBaseException, ValueError, TypeError) as error:
        raise UserError(_refused_key(error, variant) or _one_line(error)) from error


def arguments_of(config: Config) -> list[str]:
    """The Hydra overrides that say which cell this is, before what the user set otherwise."""
    return _arguments(config.variant_name, config.dataset.name, config.profile, config.seed)


def _arguments(variant: str, dataset: str, profile: str, seed: int) -> list[str]:
    per_dataset = variants.lookup(variant).dataset_defaults.get(dataset, {})
    own = [f"variant.{key}={value}" for key, value in per_dataset.items()]
    return [f"variant={variant}", f"dataset={dataset}", f"profile={profile}", f"seed={seed}", *own]


def search_path() -> str:
    """The Hydra override by which the user's folders of files are found."""
    return "hydra.searchpath=[" + ",".join(f"'file://{folder}'" for folder in conf_path()) + "]"


def _refused_key(error: Exception, variant: str) -> str | None:
    """Hydra's refusal of an unknown key, said again with the keys that exist."""
    found = re.search(r"Could not override '([\w.]+)'", str(error))
    if not found:
        return None
    section, _, key = found[1].rpartition(".")
    schemas: dict[str, Any] = {
        "variant": variants.lookup(variant).Config, "dataset": DatasetConfig,
        "training": TrainingConfig, "evaluation": EvaluationConfig,
    }  # fmt: skip
    if section in schemas:
        return str(unknown(f"option {section}.", key, (f.name for f in dataclasses.fields(schemas[section]))))
    return None


def from_plain(given: dict[str, Any]) -> Config:
    """A checked configuration from plain data: from Hydra, or from a record. Raises ``ValueError``.

    Every text stands for itself: what looks like an interpolation is none.
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
        "variant": _typed(variants.lookup(variant_name).Config, variant, "variant"),
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


T = TypeVar("T")


def _typed(schema: type[T], values: dict[str, Any], where: str) -> T:
    """``values`` as an instance of the dataclass ``schema``: unknown keys and wrong types are refused."""
    known = [f.name for f in dataclasses.fields(schema)]  # type: ignore[arg-type]
    for key in values:
        one_of(f"option {where}.", str(key), known)
    merged = OmegaConf.merge(OmegaConf.structured(schema), {key: _literal(value) for key, value in values.items()})
    return OmegaConf.to_object(merged)  # type: ignore[return-value]


def _literal(value: Any) -> Any:
    """``value`` so that OmegaConf reads its texts as they stand. Raises ``ValueError`` for "???", its mark of a missing
    value, which nothing can escape."""
    if isinstance(value, str):
        if value == "???":
            raise ValueError("'???' marks a value that is missing")
        return re.sub(r"(\\*)\$\{", lambda found: 2 * found[1] + r"\${", value)
    if isinstance(value, dict):
        return {key: _literal(entry) for key, entry in value.items()}
    return [_literal(entry) for entry in value] if isinstance(value, list) else value


def _one_line(error: Exception) -> str:
    """A library's message without its trailing frames of explanation."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    kept = [line for line in lines if not re.match(r"(full_key|object_type|reference_type|at \[Source)", line)]
    return " ".join(kept)


def split_list(text: str, kind: str, allowed: Iterable[str]) -> list[str]:
    """Names from "a,b" or "all". Raises :class:`UserError` for an empty list or an unknown name."""
    known = list(allowed)
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UserError(f"no {kind} given (allowed: all, {', '.join(known)})")
    if names == ["all"]:
        return known
    for name in names:
        if name not in known:
            raise UserError(unknown(kind, name, known))
    return list(dict.fromkeys(names))
