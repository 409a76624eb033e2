"""The one evaluation code: every number of a record, for every variant, from its three distributions."""

from __future__ import annotations

import contextlib
import logging
import math
import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from benchmarks.config import EvaluationConfig
from benchmarks.data import Factors, batches, scored
from benchmarks.evaluation.features.spaces import FeatureSpace
from benchmarks.evaluation.likelihood import PER_IMAGE, no_bound, per_image
from benchmarks.evaluation.objective import mean_objective
from benchmarks.evaluation.reconstruction import mse
from benchmarks.progress.report import counted_off, doing
from benchmarks.records.catalogue import Family, families
from benchmarks.records.checks import LARGEST
from benchmarks.records.record import CODES_FILE, HISTORY_FILE
from benchmarks.seeding import seed_everything
from variants import PROPERTIES, Variant

log = logging.getLogger(__name__)

# Images encoded or decoded at once where no samples multiply them.
BATCH = 500
# How a metric's need for a set of outliers begins.
OUTLIERS = "outliers_"
# Families of which a run may be measured while it trains: they need nothing but test images.
INTERIM = ("likelihood", "objective")


@dataclass
class Evaluation:
    """``metrics``: finite numbers. ``not_applicable``: the reason for each one that there is not. ``details``: facts
    that are not metrics but say how one was measured; they go into the record's. ``failed``: the steps that raised an
    exception, each with its ``reason`` and ``traceback``; the rest was measured all the same. ``tables``: the text of
    CSV files to be written beside the record, by their names."""

    metrics: dict[str, float] = field(default_factory=dict)
    not_applicable: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)
    failed: dict[str, dict[str, str]] = field(default_factory=dict)
    tables: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, value: float) -> None:
        """Enter a number, or the fact that it is not finite or too large for a record."""
        if abs(value) <= LARGEST:
            self.metrics[name] = value
        else:
            self.not_applicable[name] = f"{'too large' if math.isfinite(value) else 'not finite'} ({value})"

    def include(self, other: Evaluation) -> None:
        """Enter all that ``other`` holds."""
        self.metrics |= other.metrics
        self.not_applicable |= other.not_applicable
        self.warnings += other.warnings
        self.details |= other.details
        self.failed |= other.failed
        self.tables |= other.tables

    @property
    def names(self) -> set[str]:
        """Every metric that has a number or a reason."""
        return self.metrics.keys() | self.not_applicable.keys()


@dataclass(frozen=True)
class Outliers:
    """Images that are not of the data set, ``x`` (n, channels, height, width), as a model observes the test images, on
    its device. ``facts`` say in the record which ones they are."""

    x: Tensor
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class EvaluationData:
    """What a model is measured on. ``x``: test images (n, channels, height, width) as its observation model sees them,
    on its device; ``labels`` (n,) of theirs, (n, attributes) or None. ``probe`` and ``probe_labels``: training images,
    seen likewise, on whose codes classifiers and samplers are fitted; there may be none (0, ...). ``spaces``: feature
    spaces by name, or the reason why there is none. ``condition`` and ``probe_condition`` are those of the images, for
    conditional models: no other model sees a label. ``training_images`` is the size of the training split.
    ``outliers``: sets of them by name, or the reason why there is none. ``factors`` are those of the test images, where
    they are known."""

    x: Tensor
    labels: Tensor | None
    probe: Tensor
    probe_labels: Tensor | None
    spaces: Mapping[str, FeatureSpace | str]
    condition: Tensor | None = None
    probe_condition: Tensor | None = None
    training_images: int | None = None
    outliers: Mapping[str, Outliers | str] = field(default_factory=dict)
    factors: Factors | None = None


class Context:
    """What families of metrics compute from: a variant, the data, the options and the seed, and what several families
    share, computed once and only where one asks."""

    def __init__(self, variant: Variant, data: EvaluationData, config: EvaluationConfig, seed: int) -> None:
        self.variant, self.data, self.config, self.seed = variant, data, config, seed
        self._features: dict[tuple[str, str], Tensor] = {}

    def missing(self, need: str) -> str | None:
        """Why the model or the data do not have ``need``; None where they do.

        ``prior``, ``posterior_density``, ``density_elsewhere`` and ``continuous_latent``: see
        :meth:`variants.Variant.unavailable`. ``no_condition``: a model that is given nothing beside the image;
        ``condition``: one that is.
        ``discrete_latent``: a code by ``discrete_code``. ``training_images``: the probe images; ``classes``: one label
        for each image of both; ``test_classes``: for each test image. ``cluster_starts``: that they are not 0.
        ``factors``: those of the test images. ``generated_images``, ``reconstructions``: finite ones.
        ``outliers_<name>``: the set of that name. Any other need is the name of a feature space.
        """
        if need in PROPERTIES:
            return self.variant.unavailable().get(need)
        if need == "no_condition":
            return "the model is given a condition" if self.variant.conditional else None
        if need == "condition":
            return None if self.variant.conditional else "the model is given no condition"
        if need == "discrete_latent":
            return None if self._has_discrete_code else "no discrete latent variable"
        if need == "training_images":
            return None if len(self.data.probe) else "no training images were given"
        if need == "classes":
            if self.data.labels is not None and (reason := self.missing("training_images")):
                return reason
            both = (self.data.labels, self.data.probe_labels)
            if not all(labels is not None and labels.dim() == 1 for labels in both):
                return "the data set has no classes"
            classes = len(self.data.probe_labels.unique())  # type: ignore[union-attr]
            return None if classes > 1 else "the training images that were looked at are all of one class"
        if need == "test_classes":
            labels = self.data.labels
            return None if labels is not None and labels.dim() == 1 else "the data set has no classes"
        if need == "cluster_starts":
            return None if self.config.cluster_starts else "evaluation.cluster_starts is 0"
        if need == "factors":
            return None if self.data.factors is not None else "the factors of variation are not known"
        if need == "generated_images":
            if reason := self.missing("prior"):
                return reason
            return None if self.samples.isfinite().all() else "generated images are not finite"
        if need == "reconstructions":
            return None if self.reconstructions.isfinite().all() else "reconstructed images are not finite"
        if need.startswith(OUTLIERS):
            found = self.data.outliers.get(need.removeprefix(OUTLIERS), "no outliers were given")
            return found if isinstance(found, str) else None
        space = self.data.spaces.get(need, f"no feature space {need!r} was given")
        return space if isinstance(space, str) else None

    @property
    def spaces(self) -> dict[str, FeatureSpace]:
        """The feature spaces that there are, by name."""
        return {name: space for name, space in self.data.spaces.items() if not isinstance(space, str)}

    @property
    def outliers(self) -> dict[str, Outliers]:
        """The sets of outliers that there are, by name."""
        return {name: found for name, found in self.data.outliers.items() if not isinstance(found, str)}

    @property
    def pixels_of_8_bits(self) -> int | None:
        """How many pixel channels of an image a likelihood is of, for bits per dimension; None for binary ones."""
        return None if self.variant.observation.binary else scored(self.data.x, self.data.condition)

    def of_test(self, function: Callable[..., Tensor]) -> Tensor:
        """``function(x, condition=...)`` of all test images, some at a time."""
        return batched(function, self.data.x, self.data.condition)

    def of_probe(self, function: Callable[..., Tensor]) -> Tensor:
        """``function(x, condition=...)`` of all probe images, some at a time."""
        return batched(function, self.data.probe, self.data.probe_condition)

    @cached_property
    def _has_discrete_code(self) -> bool:
        given = None if self.data.condition is None else self.data.condition[:1]
        return self.variant.discrete_code(self.data.x[:1], condition=given) is not None

    @cached_property
    def test_codes(self) -> Tensor:
        """Representations (n, d) of the test images, on the CPU."""
        return self.of_test(self.variant.represent).cpu()

    @cached_property
    def probe_codes(self) -> Tensor:
        """Representations (n, d) of the probe images, on the CPU."""
        return self.of_probe(self.variant.represent).cpu()

    @cached_property
    def reconstructions(self) -> Tensor:
        """Of the test images (n, channels, height, width), from the posterior mean."""
        return self.of_test(self.variant.reconstruct)

    @cached_property
    def likelihoods(self) -> dict[str, Tensor]:
        """All of :data:`PER_IMAGE` for every test image (n,), from a stream of their own."""
        data, config = self.data, self.config
        with self._stream("likelihood"):
            return per_image(
                self.variant, data.x, config.importance_samples, config.decodes, tuple(PER_IMAGE), data.condition
            )

    @cached_property
    def samples(self) -> Tensor:
        """Mean images of draws from the prior (generated_images, channels, height, width), given the conditions of the
        test images in turn, from a stream of their own."""
        count = self.config.generated_images
        with self._stream("samples"):
            given = self.data.condition
            parts = [torch.arange(start, min(start + BATCH, count)) for start in range(0, count, BATCH)]
            conditions = [None if given is None else given[rows % len(given)] for rows in parts]
            drawn = counted_off(zip(parts, conditions, strict=True), count, "images", lambda part: len(part[0]))
            return torch.cat([self.variant.sample(len(rows), condition=one) for rows, one in drawn])

    @contextlib.contextmanager
    def _stream(self, purpose: str) -> Iterator[None]:
        """Draw from a stream of its own: that of the family which asks first goes on as if nothing had been drawn."""
        device = self.data.x.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            seed_everything(self.seed, purpose)
            yield

    def generated_features(self, space: str) -> Tensor:
        """Features (generated_images, d) of the samples in a feature space."""
        return self._cached_features(space, "samples")

    def reconstructed_features(self, space: str) -> Tensor:
        """Features (n, d) of the reconstructions in a feature space."""
        return self._cached_features(space, "reconstructions")

    def _cached_features(self, space: str, images: str) -> Tensor:
        if (space, images) not in self._features:
            self._features[space, images] = self.spaces[space](getattr(self, images))
        return self._features[space, images]


@torch.no_grad()
def evaluate(
    variant: Variant, data: EvaluationData, config: EvaluationConfig, seed: int, short_of_memory: bool = False
) -> Evaluation:
    """The metrics of every family. Likelihoods are in nats per image, and bits per dimension where pixels have 8 bits.

    Each family draws from a stream of its own, so that one that is left out changes no other. What a family that raises
    has not entered is not applicable, with the exception as its reason; only ``torch.OutOfMemoryError`` is raised, and
    that not where ``short_of_memory`` says that there is no more to try.
    """
    variant.eval()
    context = Context(variant, data, config, seed)
    result = Evaluation()
    for family in families():
        _measure(family, context, result, short_of_memory)
    return result


def failure(error: BaseException) -> str:
    """The reason that a record gives for what an exception prevented: one line."""
    message = " ".join(str(error).split())[:300]
    return f"failed: {type(error).__name__}: {message}" if message else f"failed: {type(error).__name__}"


def described(error: BaseException) -> dict[str, str]:
    """An exception as a record keeps it where the rest of a run went on."""
    return {"reason": failure(error), "traceback": "".join(traceback.format_exception(error))[-4000:]}


def _measure(family: Family, context: Context, result: Evaluation, short_of_memory: bool) -> None:
    own = Evaluation()
    binary = context.variant.observation.binary
    declared = {name: metric for name, metric in family.metrics.items() if not (metric.eight_bit and binary)}
    try:
        for name, metric in declared.items():
            reasons = (context.missing(need) for need in metric.needs)
            if reason := next(filter(None, reasons), None):
                own.not_applicable[name] = reason
        if own.names != declared.keys():
            seed_everything(context.seed, family.name)
            with doing(f"evaluating: {family.title[:1].lower()}{family.title[1:]}"):
                family.compute(context, own)
        _settle(own)
        if unknown := own.names - declared.keys():
            raise ValueError(f"family {family.name!r} entered {', '.join(sorted(unknown))}, which it does not declare")
        for name in declared.keys() - own.names:
            own.not_applicable[name] = f"family {family.name!r} entered neither a number nor a reason"
    except (Exception, SystemExit) as error:
        if isinstance(error, torch.OutOfMemoryError) and not short_of_memory:
            raise
        with contextlib.suppress(ValueError):
            _settle(own)
        log.warning("metrics of the family %r: %s", family.name, failure(error))
        own.not_applicable |= dict.fromkeys(declared.keys() - own.names, failure(error))
        own.failed[f"metrics of {family.name}"] = described(error)
    own.metrics = {name: value for name, value in own.metrics.items() if name in declared}
    own.not_applicable = {name: reason for name, reason in own.not_applicable.items() if name in declared}
    result.include(own)


def _settle(own: Evaluation) -> None:
    """Bring what a family entered into the form that a record holds. Raises ``ValueError``, once the rest is settled,
    where a metric is no number, or both a number and not applicable: the whole record would be refused for it."""
    wrong = []
    entered, own.metrics = own.metrics, {}
    for name, value in entered.items():
        if name in own.not_applicable:
            wrong.append(f"{name} is both a number and not applicable")
            continue
        try:
            own.add(name, value if type(value) in (int, float) else _as_float(value))
        except (TypeError, ValueError, RuntimeError, OverflowError):
            wrong.append(f"{name} is not a number but a {type(value).__name__}")
    own.not_applicable = {name: str(reason or "no reason given") for name, reason in own.not_applicable.items()}
    own.warnings = [str(warning) for warning in own.warnings]
    for name in list(own.tables):
        if not re.fullmatch(r"[\w-]+\.csv", name) or name in (CODES_FILE, HISTORY_FILE):
            del own.tables[name]
            wrong.append(f"{name!r} cannot be the name of a table")
    if wrong:
        raise ValueError("; ".join(wrong))


def _as_float(value: Any) -> float:
    """The number in a scalar of NumPy or torch. Raises for what is none, a text of digits among it."""
    if isinstance(value, str | bytes):
        raise TypeError("a text is not a number")
    return float(value)


@torch.no_grad()
def interim(
    variant: Variant, x: Tensor, condition: Tensor | None, training_images: int, config: EvaluationConfig, seed: int
) -> dict[str, float]:
    """Likelihoods and objective of a model that is still training, on test images ``x`` (n, channels, height, width) as
    its observation model sees them. With the same options, and but for what is fitted after training, they are the
    numbers that a run which ends here has in its record; one that is not defined is left out, and so is the log p(x)
    of one sample, which is its ELBO."""
    variant.eval()
    data = EvaluationData(x, None, x[:0], None, {}, condition, None, training_images)
    context, result = Context(variant, data, config, seed), Evaluation()
    for family in families():
        if family.name in INTERIM:
            _measure(family, context, result, short_of_memory=True)
    one = config.importance_samples == 1
    return {name: value for name, value in result.metrics.items() if not (one and name.startswith("log_likelihood"))}


@torch.no_grad()
def validation_score(
    variant: Variant,
    x: Tensor,
    seed: int,
    samples: int = 1,
    condition: Tensor | None = None,
    training_images: int | None = None,
    by: str = "elbo",
) -> dict[str, float]:
    """Named numbers after an epoch, higher is better; epochs are compared by the first one: the mean ELBO in nats per
    image from ``samples`` posterior samples an image, or the mean negative squared error of an image where the ELBO is
    not defined. With more than one sample, log p(x) stands beside the ELBO. ``by`` "objective" puts the negative of the
    variant's own loss before them. Where the data set trains another loss than the likelihood, whose scale is not
    fitted yet, that is all there is."""
    variant.eval()
    found = {}
    if by == "objective" or not variant.observation.is_trained:
        seed_everything(seed, "validation objective")
        found["validation_negative_objective"] = -mean_objective(variant, x, condition, training_images)
    seed_everything(seed, "validation")
    if not variant.observation.is_trained:
        return found
    if no_bound(variant):
        reconstructions = batched(variant.reconstruct, x, condition)
        return found | {"validation_negative_squared_error": -mse(x, reconstructions) * x[0].numel()}
    # As many images decoded at once as anywhere else.
    names = ("elbo", "log_likelihood") if samples > 1 else ("elbo",)
    values = per_image(variant, x, samples, max(BATCH, 20 * samples), names, condition)
    return found | {f"validation_{name}": float(each.mean()) for name, each in values.items()}


@torch.no_grad()
def batched(function: Callable[..., Tensor], x: Tensor, condition: Tensor | None) -> Tensor:
    """``function(x, condition=...)`` of all of ``x`` (n, ...), some at a time."""
    parts = counted_off(batches(x, condition, BATCH), len(x), "images", lambda part: len(part[0]))
    return torch.cat([function(part, condition=given) for part, given in parts])
