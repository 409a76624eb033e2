"""Evaluation of a model: all metrics of a record, for every variant, from its prior, posterior and likelihood."""

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
from benchmarks.seeding import kept_random_state, seed_everything
from variants import PROPERTIES, Variant

log = logging.getLogger(__name__)

# Number of images encoded or decoded at once when each image has one latent vector.
BATCH = 500
# Prefix of a metric's need for a set of outliers.
OUTLIERS = "outliers_"
# Families that can be measured during training: they need only test images.
INTERIM = ("likelihood", "objective")


@dataclass
class Evaluation:
    """The results of an evaluation.

    ``metrics``: finite numbers, by metric name. ``not_applicable``: the reason for each metric that has no number.
    ``warnings``: messages for the record. ``details``: facts about how metrics were measured, for the record's
    ``details``. ``failed``: the steps that raised an exception, each with its ``reason`` and ``traceback``; the other
    steps are still measured. ``tables``: the text of CSV files that are written to the run's folder, by file name.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    not_applicable: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)
    failed: dict[str, dict[str, str]] = field(default_factory=dict)
    tables: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, value: float, of: Tensor | None = None) -> None:
        """Enter a number. If it is not finite or too large for a record, enter that as the reason instead, with the
        number of images to blame if ``of`` (n,) has the values of which ``value`` is the mean."""
        if abs(value) <= LARGEST:
            self.metrics[name] = value
            return
        blamed = 0 if of is None else int((~of.isfinite()).sum())
        images = f", because of {blamed:,} of {len(of):,} images" if of is not None and blamed else ""
        self.not_applicable[name] = f"{'too large' if math.isfinite(value) else 'not finite'} ({value}){images}"

    def add_distance(self, name: str, space: FeatureSpace, features: Tensor) -> None:
        """Enter the Fréchet distance of features (n, d) to the test images, with a warning if it is biased. One image
        has no covariance, and no distance."""
        if min(len(features), len(space.reference)) < 2:
            self.not_applicable[name] = "one image has no covariance"
            return
        self.add(name, space.distance(features))
        self.warnings += space.bias(name, features)

    def include(self, other: Evaluation) -> None:
        """Enter everything that ``other`` contains."""
        self.metrics |= other.metrics
        self.not_applicable |= other.not_applicable
        self.warnings += other.warnings
        self.details |= other.details
        self.failed |= other.failed
        self.tables |= other.tables

    @property
    def names(self) -> set[str]:
        """All metrics that have a number or a reason why there is none."""
        return self.metrics.keys() | self.not_applicable.keys()


@dataclass(frozen=True)
class Outliers:
    """A set of outliers, such as images of another data set or of classes left out of training.

    ``x`` (n, channels, height, width): the images, preprocessed like the test images, on the model's device.
    ``facts``: which images they are, for the record.
    """

    x: Tensor
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class EvaluationData:
    """The data that a model is evaluated on.

    ``x``: test images (n, channels, height, width) as the model's observation model sees them, on the model's device.
    ``labels``: the labels of the test images, (n,) or (n, attributes), or None. ``probe`` and ``probe_labels``:
    training images, preprocessed in the same way, and their labels; classifiers and samplers are fitted on their codes.
    ``probe`` may be empty (0, ...). ``spaces``: feature spaces by name, or the reason why one is missing.
    ``condition`` and ``probe_condition``: the conditions of the test and probe images, for conditional models; other
    models never see labels. ``training_images``: the size of the training split. ``outliers``: sets of outliers by
    name, or the reason why one is missing. ``factors``: the factors of variation of the test images, if known.
    """

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
    """What families of metrics compute from: the variant, the data, the options and the seed.

    Quantities that several families share are computed on first use and cached.
    """

    def __init__(self, variant: Variant, data: EvaluationData, config: EvaluationConfig, seed: int) -> None:
        self.variant, self.data, self.config, self.seed = variant, data, config, seed
        self._features: dict[tuple[str, str], Tensor] = {}

    def missing(self, need: str) -> str | None:
        """The reason why the model or the data do not provide ``need``, or None if they do.

        ``prior``, ``posterior_density``, ``density_elsewhere`` and ``continuous_latent``: see
        :meth:`variants.Variant.unavailable`. ``no_condition``: the model is not conditional; ``condition``: it is.
        ``discrete_latent``: ``discrete_code`` returns a code. ``training_images``: there are probe images.
        ``classes``: every test and probe image has one class label, and the probe images have more than one class;
        ``test_classes``: every test image has one class label. ``cluster_starts``: the option is not 0. ``factors``:
        the factors of the test images are known. ``generated_images``, ``reconstructions``: these images are finite.
        ``outliers_<name>``: there is a set of outliers of that name. Any other need is the name of a feature space.
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
            if self.data.labels is not None and self.data.probe_labels is None:
                return "the training images have no labels"
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
        """The available feature spaces, by name."""
        return {name: space for name, space in self.data.spaces.items() if not isinstance(space, str)}

    @property
    def outliers(self) -> dict[str, Outliers]:
        """The available sets of outliers, by name."""
        return {name: found for name, found in self.data.outliers.items() if not isinstance(found, str)}

    @property
    def pixels_of_8_bits(self) -> int | None:
        """Number of pixel channels per image that a likelihood covers, for bits/dim; None for binary pixels."""
        return None if self.variant.observation.binary else scored(self.data.x, self.data.condition)

    def of_test(self, function: Callable[..., Tensor]) -> Tensor:
        """``function(x, condition=...)`` of all test images, computed in batches."""
        return batched(function, self.data.x, self.data.condition)

    def of_probe(self, function: Callable[..., Tensor]) -> Tensor:
        """``function(x, condition=...)`` of all probe images, computed in batches."""
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
        """Reconstructions of the test images from the posterior mean, (n, channels, height, width)."""
        return self.of_test(self.variant.reconstruct)

    @cached_property
    def likelihoods(self) -> dict[str, Tensor]:
        """Every quantity of :data:`PER_IMAGE` for each test image (n,), computed with a separate random stream."""
        data, config = self.data, self.config
        with self._stream("likelihood"):
            return per_image(
                self.variant, data.x, config.importance_samples, config.decodes, tuple(PER_IMAGE), data.condition
            )

    @cached_property
    def samples(self) -> Tensor:
        """Mean images of draws from the prior (generated_images, channels, height, width).

        A conditional model is given the conditions of the test images, cyclically. The draws have a separate random
        stream.
        """
        count = self.config.generated_images
        with self._stream("samples"):
            given = self.data.condition
            parts = [torch.arange(start, min(start + BATCH, count)) for start in range(0, count, BATCH)]
            conditions = [None if given is None else given[rows % len(given)] for rows in parts]
            drawn = counted_off(zip(parts, conditions, strict=True), count, "images", lambda part: len(part[0]))
            return torch.cat([self.variant.sample(len(rows), condition=one) for rows, one in drawn])

    @contextlib.contextmanager
    def _stream(self, purpose: str) -> Iterator[None]:
        """Use a separate random stream for ``purpose`` inside the block.

        The random state is restored afterwards, so the draws of the family that triggers the computation do not change.
        """
        with kept_random_state(self.data.x.device):
            seed_everything(self.seed, purpose)
            yield

    def generated_features(self, space: str) -> Tensor:
        """Features (generated_images, d) of :attr:`samples` in a feature space."""
        return self._cached_features(space, "samples")

    def reconstructed_features(self, space: str) -> Tensor:
        """Features (n, d) of :attr:`reconstructions` in a feature space."""
        return self._cached_features(space, "reconstructions")

    def _cached_features(self, space: str, images: str) -> Tensor:
        if (space, images) not in self._features:
            self._features[space, images] = self.spaces[space](getattr(self, images))
        return self._features[space, images]


@torch.no_grad()
def evaluate(
    variant: Variant, data: EvaluationData, config: EvaluationConfig, seed: int, short_of_memory: bool = False
) -> Evaluation:
    """Compute the metrics of every family.

    Likelihoods are in nats per image, and also in bits per dimension if pixels have 8 bits. Each family has its own
    random stream, so leaving out one family does not change the others. If a family raises an exception, the metrics
    that it has not entered are marked as not applicable, with the exception as the reason. Only
    ``torch.OutOfMemoryError`` is re-raised, so that the caller can try again with less memory; with ``short_of_memory``
    it is treated like any other exception.
    """
    variant.eval()
    context = Context(variant, data, config, seed)
    result = Evaluation()
    for family in families():
        _measure(family, context, result, short_of_memory)
    return result


def failure(error: BaseException) -> str:
    """The reason that a record gives for a number that is missing because of an exception: one line."""
    message = " ".join(str(error).split())[:300]
    return f"failed: {type(error).__name__}: {message}" if message else f"failed: {type(error).__name__}"


def described(error: BaseException) -> dict[str, str]:
    """An exception as a record stores it when the rest of the run continued."""
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
    """Convert what a family entered to the types that a record accepts, and drop invalid entries.

    Afterwards, raises ``ValueError`` if there were any: a metric that is not a number, a metric that is both a number
    and not applicable, or a table with an unsuitable file name. A record with such an entry would be rejected.
    """
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
    """The number in a NumPy or torch scalar. Raises an exception for anything else, including a string of digits."""
    if isinstance(value, str | bytes):
        raise TypeError("a text is not a number")
    return float(value)


@torch.no_grad()
def interim(
    variant: Variant,
    x: Tensor,
    labels: Tensor | None,
    condition: Tensor | None,
    training_images: int,
    config: EvaluationConfig,
    seed: int,
) -> dict[str, float]:
    """Likelihoods and objective of a model during training, on test images.

    ``x`` (n, channels, height, width): test images as the model's observation model sees them, with their ``labels``,
    if there are any. With the same options, and except for quantities that are fitted after training, the numbers equal
    those in the record of a run that ends at this point. Metrics that are not defined are left out. log p(x) from a
    single importance sample is also left out, because it equals the ELBO.
    """
    variant.eval()
    data = EvaluationData(x, labels, x[:0], None, {}, condition, None, training_images)
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
    labels: Tensor | None = None,
) -> dict[str, float]:
    """Validation scores after an epoch, by name. Higher is better; epochs are compared by the first score.

    By default, the first score is the mean ELBO in nats per image, from ``samples`` posterior samples per image. With
    more than one sample, log p(x) follows. If the ELBO is not defined, the score is the negative squared error per
    image, averaged over images. With ``by`` "objective", the negative of the variant's own loss, which gets the
    ``labels`` of the images, precedes these scores.
    If the data set trains another loss than the likelihood, the negative loss is the only score, because the scale of
    the likelihood has not been fitted yet.
    """
    variant.eval()
    found = {}
    if by == "objective" or not variant.observation.is_trained:
        seed_everything(seed, "validation objective")
        found["validation_negative_objective"] = -mean_objective(variant, x, condition, training_images, labels)
    seed_everything(seed, "validation")
    if not variant.observation.is_trained:
        return found
    if no_bound(variant):
        reconstructions = batched(variant.reconstruct, x, condition)
        return found | {"validation_negative_squared_error": -mse(x, reconstructions) * x[0].numel()}
    # Decode BATCH images at a time, as elsewhere, or 20 images with all their samples if that is more.
    names = ("elbo", "log_likelihood") if samples > 1 else ("elbo",)
    values = per_image(variant, x, samples, max(BATCH, 20 * samples), names, condition)
    return found | {f"validation_{name}": float(each.mean()) for name, each in values.items()}


@torch.no_grad()
def batched(function: Callable[..., Tensor], x: Tensor, condition: Tensor | None) -> Tensor:
    """``function(x, condition=...)`` of all of ``x`` (n, ...), computed in batches."""
    parts = counted_off(batches(x, condition, BATCH), len(x), "images", lambda part: len(part[0]))
    return torch.cat([function(part, condition=given) for part, given in parts])
