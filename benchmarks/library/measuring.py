"""Measurements on any images: all metrics of a model, likelihoods of single images, and sample quality."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import itertools
import logging
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.config import LARGEST_WHOLE, EvaluationConfig, evaluation_with
from benchmarks.data import Dataset, Factors, Split, data_root, feature_cache
from benchmarks.data.dataset import SIDES
from benchmarks.errors import UserError
from benchmarks.evaluation.evaluate import Evaluation, EvaluationData, Outliers
from benchmarks.evaluation.evaluate import evaluate as measured
from benchmarks.evaluation.families.outliers import IMAGES as OUTLIERS
from benchmarks.evaluation.families.sample_quality import MANIFOLD_IMAGES, NEIGHBOURS
from benchmarks.evaluation.features.inception import WeightsUnavailableError
from benchmarks.evaluation.features.kid import kid
from benchmarks.evaluation.features.manifold import manifold
from benchmarks.evaluation.features.spaces import FeatureSpace, inception_space_of, judge_space_of
from benchmarks.evaluation.judges.network import feature_network, shipped_judge
from benchmarks.evaluation.judges.shipped import SOURCES
from benchmarks.evaluation.likelihood import PER_IMAGE, no_bound, per_image
from benchmarks.evaluation.representation import subset
from benchmarks.library.checks import whole_number
from benchmarks.library.factors import known_factors
from benchmarks.library.images import Array, as_array, image_bytes, label_tensor, pixel_values, training_labels
from benchmarks.library.latent import model_pixels, observed, takes_classes
from benchmarks.library.randomness import drawn_from
from benchmarks.library.runs import Run, device_of, loaded_data, model_of, observation_of
from benchmarks.library.settings import own_settings
from benchmarks.seeding import kept_random_state
from benchmarks.sweep.cell import evaluation_data
from benchmarks.sweep.outliers import outlier_sets
from benchmarks.training.teacher import teacher
from variants import Variant
from variants.options import unknown

log = logging.getLogger(__name__)

# The value of judge for a classifier that is trained on the training images.
TRAIN = "train"


@own_settings()
def evaluate(
    model: Run | Variant,
    images: Array | None = None,
    labels: Array | None = None,
    *,
    train_images: Array | None = None,
    train_labels: Array | None = None,
    outliers: Array | None = None,
    factors: Factors | Array | None = None,
    judge: str | None = None,
    inception: bool = False,
    seed: int = 0,
    **options: Any,
) -> Evaluation:
    """Compute every metric that applies to a model.

    Returns an :class:`Evaluation` with ``metrics``, numbers by name, and ``not_applicable``, the reason for each metric
    that is missing.

    Without ``images``, a run is measured on its data set's test split as on its board, and gives the numbers of its
    record. With ``images``, it is measured on these: likelihoods, reconstructions, samples compared with the images,
    and with ``labels`` what codes know of the class. Classifiers and the mixture sampler are fitted on
    ``train_images``, by default on the run's own training images if they are available. ``outliers`` are images of
    another kind, which the model's scores should distinguish from ``images``. ``factors`` are the factors of variation
    of the images, as `disentanglement` takes them.

    ``judge`` is the classifier whose features measure sample quality. "mnist", "fashion_mnist" and "digits" are the
    judges of these boards. "train" is a classifier that is trained on the training images and their labels (minutes,
    once; it is cached). None is the judge of the run's data set, if one comes with the suite. ``inception`` adds
    distances in Inception's features. ``options`` are those of :class:`benchmarks.config.EvaluationConfig`, such as
    ``importance_samples=1000``.

    Raises :class:`UserError` for images, labels or options that cannot be used.

    Example:
        >>> found = evaluate(run, images, labels, importance_samples=10)
        >>> found.metrics["elbo"] <= found.metrics["log_likelihood"]
        True
        >>> found.not_applicable["ms_ssim"]
        'needs images of 176 pixels a side'
    """
    variant, device = model_of(model), device_of(model)
    if images is not None or inception:
        options["inception"] = inception
    config = _options(model, options)
    seed = _checked(seed, judge)
    if images is None:
        if not isinstance(model, Run):
            raise UserError("a model without a run has no data set of its own: give images")
        if any(given is not None for given in (labels, train_images, train_labels, outliers, factors, judge)):
            raise UserError("without images a run is measured as on its board: give images, too, or leave out the rest")
        return _on_board(model, config, device)
    x, condition = observed(model, images, labels if takes_classes(model) else None)
    pixels = model_pixels(model, images)
    targets = None if labels is None else label_tensor(labels, len(pixels))
    if len(pixels) < 2:
        raise UserError(f"two images or more are needed, got {len(pixels)}")
    known = None if factors is None else known_factors(factors, len(pixels))
    training = _training(model, train_images, train_labels)
    probe, probe_labels, probe_condition = x[:0], None, None
    if training is not None:
        rows = subset(len(training), config.probe_images, seed=0)
        probe_labels = None if training.labels is None else training.labels[rows]
        given = probe_labels if takes_classes(model) else None
        probe, probe_condition = observed(model, training.images[rows], given)
    count = None if training is None else len(training)
    with kept_random_state(device):
        spaces = {
            "features": _judge(model, judge, pixels, targets, training, device),
            "inception": _inception(pixels, config, device),
        }
        others = _outliers(model, outliers)
        data = EvaluationData(x, targets, probe, probe_labels, spaces, condition, probe_condition, count, others, known)
        found = measured(variant, data, config, seed, short_of_memory=True)
    for space in spaces.values():
        if isinstance(space, FeatureSpace):
            found.details |= space.facts
    return found


class Evaluator:
    """`evaluate` for images that come batch by batch, with the interface of torchmetrics.

    Call ``update`` with each batch, then ``compute`` for the :class:`Evaluation`; ``reset`` starts again. Images are
    kept as bytes, and the numbers are those of one call with all images. ``options`` are those of `evaluate`. Raises
    :class:`UserError` for options that `evaluate` does not have, and for values that cannot be used.

    Example:
        >>> evaluator = Evaluator(run, importance_samples=10)
        >>> for batch in np.array_split(images, 4):
        ...     evaluator.update(batch)
        >>> evaluator.compute().metrics.keys() == evaluate(run, images, importance_samples=10).metrics.keys()
        True
    """

    def __init__(self, model: Run | Variant, **options: Any) -> None:
        model_of(model)
        _options(model, options)
        _checked(options.get("seed", 0), options.get("judge"))
        if options.keys() & {"train_images", "train_labels"}:
            _training(model, options.get("train_images"), options.get("train_labels"))
        _outliers(model, options.get("outliers"))
        self.model, self.options = model, options
        self.reset()

    def update(self, images: Array, labels: Array | None = None) -> None:
        """Add a batch. Either all batches have labels, of one form, or none has.

        Raises :class:`UserError` otherwise, and for images and labels that `evaluate` does not take.
        """
        pixels = model_pixels(self.model, images)
        if self._images and (labels is None) != (not self._labels):
            raise UserError("either all batches have labels or none has")
        if labels is not None:
            label_tensor(labels, len(pixels))
            # Kept as they were given: only all batches together show whether rows are one-hot.
            rows = as_array(labels, "labels").reshape(len(pixels), -1).copy()
            if self._labels and rows.shape[1] != self._labels[0].shape[1]:
                raise UserError(f"labels have {rows.shape[1]} columns, those before had {self._labels[0].shape[1]}")
            self._labels.append(rows)
        self._images.append(pixels)

    def compute(self) -> Evaluation:
        """Compute every metric of all images since the start or the last reset."""
        if not self._images:
            raise UserError("there are no images yet: call update(images) first")
        labels = np.concatenate(self._labels) if self._labels else None
        return evaluate(self.model, torch.cat(self._images), labels, **self.options)

    def reset(self) -> None:
        """Forget all images."""
        self._images: list[Tensor] = []
        self._labels: list[np.ndarray] = []


@own_settings()
def likelihoods(
    model: Run | Variant, images: Array, labels: Array | None = None, *, samples: int = 100, seed: int | None = None
) -> dict[str, Tensor]:
    """Likelihoods of each image, in nats (n,), from one array of ``samples`` log-weights per image.

    The keys are ``elbo``, ``log_likelihood`` (the importance-sampled bound on log p(x)), ``distortion`` (-E log p(x|z))
    and ``kl``. Raises :class:`UserError` for a model that has no bound, and unless ``samples`` is a whole number from
    1.

    Example:
        >>> found = likelihoods(run, images, samples=10)
        >>> bool((found["log_likelihood"] >= found["elbo"]).all())
        True
    """
    variant = model_of(model)
    if reason := no_bound(variant):
        raise UserError(f"log p(x) is not defined: {reason}")
    samples = whole_number("samples", samples)
    x, condition = observed(model, images, labels)
    decodes = EvaluationConfig().decodes
    with drawn_from(seed, x.device, "likelihood"):
        found = per_image(variant, x, samples, decodes, tuple(PER_IMAGE), condition)
    return {name: values.cpu() for name, values in found.items()}


@own_settings()
def sample_quality(generated: Array, images: Array, judge: str) -> dict[str, float]:
    """Measure how close generated images are to ``images``, in the features of a ``judge``.

    ``judge`` is "mnist", "fashion_mnist" or "digits". ``fid`` and ``kid`` are distances; ``precision`` and ``density``
    measure fidelity; ``recall`` and ``coverage`` measure diversity. The last four need more than five images of each
    set. `evaluate` measures the samples of a model, also in Inception's features. Pixels of generated images outside
    [0, 1], which a decoder with a linear output returns, are clamped, with a warning.

    Example:
        >>> found = sample_quality(sample(run, 50, seed=0), images, judge="digits")
        >>> found["fid"] > sample_quality(images, images, judge="digits")["fid"]
        True
    """
    if judge not in SOURCES:
        raise UserError(unknown("judge", judge, SOURCES))
    shape = (1, SIDES[judge], SIDES[judge])
    reference, fakes = image_bytes(images, shape), pixel_values(generated, shape, "generated images")
    if fakes.numel() and (fakes.min() < 0 or fakes.max() > 1):
        # Outputs of a linear decoder, or images on another scale, such as [-1, 1].
        log.warning("generated images have pixels from %.2f to %.2f, which are clamped to [0, 1]", *fakes.aminmax())
    if min(len(reference), len(fakes)) < 2:
        raise UserError(f"two images or more of each are needed, got {len(fakes)} generated and {len(reference)}")
    cpu = torch.device("cpu")
    space = judge_space_of(reference, shipped_judge(judge, cpu), shape, cpu)
    features = space(fakes)
    found = {"fid": space.distance(features), "kid": kid(features, space.reference)[0]}
    size = min(MANIFOLD_IMAGES, len(features), len(space.reference))
    if size > NEIGHBOURS:
        found |= manifold(space.reference[:size], features[:size], NEIGHBOURS)._asdict()
    return found


def _options(model: Run | Variant, options: dict[str, Any]) -> EvaluationConfig:
    base = model.config.evaluation if isinstance(model, Run) else EvaluationConfig()
    # The keyword ``images`` is that of `evaluate`, which has more keywords that are not part of the configuration.
    known = {option.name for option in dataclasses.fields(EvaluationConfig)} - {"images"}
    keywords = {name for name, one in inspect.signature(evaluate).parameters.items() if one.kind is one.KEYWORD_ONLY}
    for name in options:
        if name not in known | keywords:
            raise UserError(unknown("option of the evaluation", name, known | keywords))
    given = {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in options.items()
        if name in known
    }
    try:
        return evaluation_with(base, given)
    except ValueError as error:
        raise UserError(" ".join(str(error).split())) from None


def _checked(seed: Any, judge: Any) -> int:
    """The seed. Raises :class:`UserError` for another value than a whole number, and for an unknown judge."""
    if judge is not None and judge not in (*SOURCES, TRAIN):
        raise UserError(unknown("judge", judge, [*SOURCES, TRAIN]))
    return whole_number("seed", seed, 0, LARGEST_WHOLE)


def _on_board(run: Run, config: EvaluationConfig, device: torch.device) -> Evaluation:
    """Measure a run as its cell did."""
    data = loaded_data(run)
    if not len(data.test):
        raise UserError("the run was trained on images in memory, which has no test split: give images")
    whole = dataclasses.replace(run.config, evaluation=config)
    result = Evaluation()
    with kept_random_state(device):
        if run.model.needs_teacher and run.record is not None:
            # Only the objective needs the teacher, and it must be the one that the run was trained with.
            network, which = teacher(data, feature_cache(), device)
            if which == run.record.details.get("teacher"):
                run.model.use_teacher(network)
        held_out = evaluation_data(whole, data, feature_cache(), device, result)
        sets = outlier_sets(whole.dataset, data, data_root(), device)
        held_out = dataclasses.replace(held_out, outliers=sets)
        result.include(measured(run.model, held_out, config, run.config.seed, short_of_memory=True))
    return result


def _outliers(model: Run | Variant, images: Array | None) -> dict[str, Outliers | str]:
    """Sets of outliers by name: the given images as another data set, or why there are none."""
    if images is None:
        return {"dataset": "no outliers were given", "class": "no class was left out of training"}
    if model_of(model).conditional:
        return {}
    x = observed(model, images)[0][:OUTLIERS]
    return {"dataset": Outliers(x, {"dataset": "given images", "outliers": len(x)}), "class": "no class was left out"}


def _training(model: Run | Variant, images: Array | None, labels: Array | None) -> Split | None:
    """The images that classifiers are fitted on: the given ones, or those of the run; None if there are none."""
    if images is not None:
        pixels = model_pixels(model, images, "train_images")
        return Split(pixels, None if labels is None else training_labels(labels, len(pixels), "train_images"))
    if labels is not None:
        raise UserError("train_labels need train_images")
    if not isinstance(model, Run):
        return None
    try:
        return loaded_data(model).train
    except UserError:
        return None


def _judge(
    model: Run | Variant,
    judge: str | None,
    pixels: Tensor,
    labels: Tensor | None,
    training: Split | None,
    device: torch.device,
) -> FeatureSpace | str:
    """The feature space that sample quality is measured in, or the reason why there is none."""
    if judge == TRAIN:
        if training is None or training.labels is None or labels is None:
            raise UserError("judge='train' needs labels, train_images and train_labels to train a classifier on")
        try:
            found = feature_network(_as_dataset(training, pixels, labels), "judge", feature_cache(), device)
        except ValueError as error:
            raise UserError(f"judge='train': {error}") from None
        return judge_space_of(pixels, found, model_of(model).image_shape, device)
    dataset = observation_of(model)
    if judge is None:
        if dataset.source not in SOURCES:
            return f"no judge was named for these images (judge={', '.join(map(repr, [*SOURCES, TRAIN]))})"
        if dataset.image_size not in (None, SIDES[dataset.source]):
            return f"the judge of {dataset.source} has not seen resized images (judge='train' trains one that has)"
        judge = dataset.source
    shape, given = (1, SIDES[judge], SIDES[judge]), tuple(pixels.shape[1:])
    if dataset.pad is not None:
        # The judge sees the images without their padding.
        side = dataset.image_size or SIDES.get(dataset.source, SIDES[judge])
        given = (given[0], min(side, given[1]), min(side, given[2]))
    if given != shape:
        padding = " without padding" if dataset.pad is not None else ""
        raise UserError(f"judge {judge!r} takes images of {shape}, and these are {given}{padding}")
    return judge_space_of(pixels, shipped_judge(judge, device), shape, device)


def _as_dataset(training: Split, pixels: Tensor, labels: Tensor) -> Dataset:
    """The images that a judge is trained and tested on, as a data set with its own digest."""
    assert training.labels is not None
    if training.labels.dim() != labels.dim():
        raise UserError("labels and train_labels must be of one kind: one class per image, or attributes")
    parts = itertools.chain((training.images, training.labels), (pixels, labels))
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{tuple(part.shape)};".encode())
        digest.update(part.contiguous().numpy().data)
    most = max(int(labels.max()), int(training.labels.max()))
    classes = labels.shape[1] if labels.dim() == 2 else most + 1
    none = Split(pixels[:0], None)
    return Dataset(
        "given images", "images in memory", training, none, Split(pixels, labels), digest.hexdigest(), classes
    )


def _inception(pixels: Tensor, config: EvaluationConfig, device: torch.device) -> FeatureSpace | str:
    if not config.inception:
        return "inception=True measures it"
    try:
        return inception_space_of(pixels, device, config.inception_precision)
    except WeightsUnavailableError as error:
        return str(error)
