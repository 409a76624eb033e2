"""The one evaluation code: every number of a record, for every variant, from its three distributions."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch import Tensor

from benchmarks.config import EvaluationConfig
from benchmarks.evaluation.features.kid import kid
from benchmarks.evaluation.features.manifold import manifold
from benchmarks.evaluation.features.spaces import FeatureSpace
from benchmarks.evaluation.latent import active_units, category_accuracy, code_perplexity
from benchmarks.evaluation.likelihood import elbo, log_likelihood, standard_error
from benchmarks.evaluation.reconstruction import SMALLEST_MULTISCALE_SIDE, feature_distance, ms_ssim, mse, psnr, ssim
from benchmarks.evaluation.representation import information, knn_accuracy, linear_probe_accuracy
from benchmarks.seeding import seed_everything
from variants import LogWeights, Variant

# Images encoded or decoded at once where no samples multiply them.
BATCH = 500
# Nearest neighbours among this many images of each kind: the cost grows with the square.
MANIFOLD_IMAGES = 2000
MIXTURE_COMPONENTS = 10
MANIFOLD = ("precision", "recall", "density", "coverage")
PROBES = {"knn_accuracy": knn_accuracy, "linear_probe_accuracy": linear_probe_accuracy}
LIKELIHOOD_METRICS = ("elbo", "elbo_se", "log_likelihood", "log_likelihood_se", "distortion", "kl")

# So many decoded pixels stay in a processor's cache between the decoder and the sum over them: with K = 5,000, 10,000
# images of 28x28 at once (8 million pixels) took 1.2 to 1.6 times as long as in parts of this size.
CACHED_PIXELS = 2**21


@dataclass
class Evaluation:
    """``metrics``: finite numbers. ``not_applicable``: the reason for each one that there is not."""

    metrics: dict[str, float] = field(default_factory=dict)
    not_applicable: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def add(self, name: str, value: float) -> None:
        """Enter a number, or the fact that it is not finite."""
        if math.isfinite(value):
            self.metrics[name] = value
        else:
            self.not_applicable[name] = f"not finite ({value})"


@dataclass(frozen=True)
class EvaluationData:
    """What a model is measured on. ``x``: test images (n, channels, height, width) as its observation model sees them,
    on its device; ``labels`` (n,) of theirs, (n, attributes) or None. ``probe`` and ``probe_labels``: training images,
    seen likewise, on whose codes classifiers and samplers are fitted. ``spaces``: feature spaces by name, or the reason
    why there is none. No model sees a label in training."""

    x: Tensor
    labels: Tensor | None
    probe: Tensor
    probe_labels: Tensor | None
    spaces: Mapping[str, FeatureSpace | str]


@torch.no_grad()
def evaluate(variant: Variant, data: EvaluationData, config: EvaluationConfig, seed: int) -> Evaluation:
    """All metrics of ``variant``. Likelihoods are in nats per image, and bits per dimension where pixels have 8 bits.

    Each family draws from a stream of its own, so that one that is left out changes no other.
    """
    variant.eval()
    result = Evaluation()
    reconstructions = reconstruct(variant, data.x)
    seed_everything(seed, "likelihood")
    _likelihood(result, variant, data.x, config)
    _reconstruction(result, data.x, reconstructions)
    _latent(result, variant, data, config, seed)
    _discrete(result, variant, data.x, data.labels)
    _quality(result, variant, data, reconstructions, config, seed)
    return result


def _likelihood(result: Evaluation, variant: Variant, x: Tensor, config: EvaluationConfig) -> None:
    bits = not variant.observation.binary
    in_bits = ("elbo_bits_per_dim", "log_likelihood_bits_per_dim") if bits else ()
    if reason := variant.unavailable().get("density"):
        result.not_applicable |= dict.fromkeys((*LIKELIHOOD_METRICS, *in_bits), reason)
        return
    per_image = _per_image(variant, x, config.importance_samples, config.decodes, tuple(_PER_IMAGE))
    for name in ("elbo", "log_likelihood"):
        values = per_image[name]
        result.add(name, float(values.mean()))
        result.add(f"{name}_se", standard_error(values))
        if bits:
            result.add(f"{name}_bits_per_dim", -float(values.mean()) / (x[0].numel() * math.log(2)))
    for name in ("distortion", "kl"):
        result.add(name, float(per_image[name].mean()))


def _reconstruction(result: Evaluation, x: Tensor, reconstructions: Tensor) -> None:
    result.add("mse", mse(x, reconstructions))
    result.add("psnr", psnr(x, reconstructions))
    result.add("ssim", ssim(x, reconstructions))
    if min(x.shape[-2:]) < SMALLEST_MULTISCALE_SIDE:
        result.not_applicable["ms_ssim"] = f"needs images of {SMALLEST_MULTISCALE_SIDE} pixels a side"
    else:
        result.add("ms_ssim", ms_ssim(x, reconstructions))


def _latent(result: Evaluation, variant: Variant, data: EvaluationData, config: EvaluationConfig, seed: int) -> None:
    """Representation: active units, classifiers on the codes, and what the codes know of the image."""
    missing = variant.unavailable()
    if reason := missing.get("continuous_latent"):
        result.not_applicable["active_units"] = reason
    else:
        means = torch.cat([variant.latent_means(batch) for batch in data.x.split(BATCH)])
        result.add("active_units", active_units(means))
    if data.labels is None or data.probe_labels is None or data.labels.dim() != 1:
        result.not_applicable |= dict.fromkeys(PROBES, "the data set has no classes")
    else:
        train, test = represent(variant, data.probe).cpu(), represent(variant, data.x).cpu()
        for name, accuracy in PROBES.items():
            result.add(name, accuracy(train, data.probe_labels, test, data.labels))
    reason = missing.get("density") or missing.get("continuous_latent")
    if reason:
        result.not_applicable |= dict.fromkeys(("mutual_information", "aggregate_kl"), reason)
        return
    seed_everything(seed, "information")
    x = data.x[: config.information_images]
    q = variant.posterior(x)
    z = q.sample()
    # log q(z_i | x_j) for all pairs: every draw under every posterior.
    log_q = torch.stack([q.log_prob(one.expand_as(z)) for one in z])
    mutual, marginal = information(log_q, variant.prior().log_prob(z))
    result.add("mutual_information", mutual)
    result.add("aggregate_kl", marginal)


def _quality(
    result: Evaluation,
    variant: Variant,
    data: EvaluationData,
    reconstructions: Tensor,
    config: EvaluationConfig,
    seed: int,
) -> None:
    """Generated and reconstructed images in every feature space; the samples are the same in all of them."""
    seed_everything(seed, "samples")
    samples = torch.cat([variant.sample(n) for n in _batches(config.generated_images)])
    for name, space in data.spaces.items():
        names = [f"fid_{name}", f"kid_{name}", f"kid_{name}_se", f"reconstruction_fid_{name}"]
        own = [*MANIFOLD, "feature_distance", "fid_features_gmm"] if name == "features" else []
        if isinstance(space, str):
            result.not_applicable |= dict.fromkeys([*names, *own], space)
            continue
        if not samples.isfinite().all():
            result.not_applicable |= dict.fromkeys([*names, *own], "generated images are not finite")
            continue
        features, reconstructed = space(samples), space(reconstructions)
        result.add(f"fid_{name}", space.distance(features))
        value, error = kid(features, space.reference)
        result.add(f"kid_{name}", value)
        result.add(f"kid_{name}_se", error)
        result.add(f"reconstruction_fid_{name}", space.distance(reconstructed))
        if len(features) < features.shape[1]:
            result.warnings.append(
                f"fid_{name} from {len(features)} images in {features.shape[1]} dimensions is biased upwards"
            )
        if name == "features":
            size = min(MANIFOLD_IMAGES, len(features), len(space.reference))
            try:
                four = manifold(space.reference[:size], features[:size])
            except ValueError as error:
                result.not_applicable |= dict.fromkeys(MANIFOLD, str(error))
            else:
                for metric, number in zip(MANIFOLD, four, strict=True):
                    result.add(metric, number)
            result.add("feature_distance", feature_distance(space.reference[: len(data.x)], reconstructed))
            _mixture(result, variant, data, space, config, seed)


def _mixture(
    result: Evaluation,
    variant: Variant,
    data: EvaluationData,
    space: FeatureSpace,
    config: EvaluationConfig,
    seed: int,
) -> None:
    """Sample quality with a mixture of Gaussians, fitted to training codes, in place of the prior."""
    if "continuous_latent" in variant.unavailable() or variant.discrete_code(data.x[:1]) is not None:
        result.not_applicable["fid_features_gmm"] = "a mixture of Gaussians needs a continuous latent vector"
        return
    codes = torch.cat([variant.code(variant.posterior(batch)) for batch in data.probe.split(BATCH)])
    mixture = GaussianMixture(MIXTURE_COMPONENTS, reg_covar=1e-4, max_iter=50, random_state=seed)
    with warnings.catch_warnings():
        # The number of iterations is a budget, the same for every variant.
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(codes.double().cpu().numpy())
    drawn, _ = mixture.sample(config.generated_images)
    z = torch.from_numpy(drawn).to(codes)
    images = torch.cat([variant.likelihood(batch).mean for batch in z.split(BATCH)])
    result.add("fid_features_gmm", space.distance(space(images)))


def _batches(count: int) -> list[int]:
    return [min(BATCH, count - start) for start in range(0, count, BATCH)]


def _discrete(result: Evaluation, variant: Variant, x: Tensor, labels: Tensor | None) -> None:
    found = [variant.discrete_code(batch) for batch in x.split(BATCH)]
    codes = torch.cat([code for code in found if code is not None]) if found[0] is not None else None
    if codes is None:
        result.not_applicable |= dict.fromkeys(("code_perplexity", "category_accuracy"), "no discrete latent variable")
        return
    result.add("code_perplexity", code_perplexity(codes))
    if codes.shape[1] != 1:
        result.not_applicable["category_accuracy"] = f"{codes.shape[1]} discrete variables, none of them the class"
    elif labels is None or labels.dim() != 1:
        result.not_applicable["category_accuracy"] = "the data set has no classes"
    else:
        result.add("category_accuracy", category_accuracy(codes[:, 0].cpu(), labels))


@torch.no_grad()
def log_weights(variant: Variant, x: Tensor, samples: int, decodes: int) -> Iterator[LogWeights]:
    """Importance weights of every image, (samples, batch) at a time.

    Each image is encoded once, and no more than ``decodes`` images are decoded at a time, be it many images with few
    samples or a part of one image's samples.
    """
    cached = max(1, CACHED_PIXELS // x[0].numel())
    if x.device.type == "cpu" and samples > cached:
        decodes = min(decodes, cached)
    for batch in x.split(max(1, decodes // samples)):
        q = variant.posterior(batch)
        draws = [min(decodes, samples - start) for start in range(0, samples, decodes)]
        parts = [variant.log_weights(batch, q, count) for count in draws]
        yield LogWeights(*(torch.cat(same) for same in zip(*parts, strict=True)))


@torch.no_grad()
def log_likelihood_of(variant: Variant, x: Tensor, samples: int, decodes: int = 10_000) -> Tensor:
    """log p(x) of each image ``x`` (n, channels, height, width) in nats (n,), a lower bound by ``samples`` importance
    samples. Raises ``ValueError`` for a model that has no density."""
    if reason := variant.unavailable().get("density"):
        raise ValueError(f"log p(x) is not defined: {reason}")
    variant.eval()
    return _per_image(variant, x, samples, decodes, ("log_likelihood",))["log_likelihood"]


# What is measured of every image from its importance weights, in nats (batch,).
_PER_IMAGE: dict[str, Callable[[LogWeights], Tensor]] = {
    "elbo": lambda part: elbo(part.value),
    "log_likelihood": lambda part: log_likelihood(part.value),
    "distortion": lambda part: -part.log_likelihood.double().mean(0),
    "kl": lambda part: (part.log_posterior - part.log_prior).double().mean(0),
}


def _per_image(variant: Variant, x: Tensor, samples: int, decodes: int, names: Sequence[str]) -> dict[str, Tensor]:
    """Some of the numbers above for every image (n,), float64, from the same draws.

    Reduced part by part into arrays made beforehand: log-weights kept for all images would pin the heap between the
    decoder's large arrays, 23 GB for 10,000 images with K = 5,000.
    """
    found = {name: x.new_empty(len(x), dtype=torch.float64) for name in names}
    start = 0
    for part in log_weights(variant, x, samples, decodes):
        stop = start + part.log_prior.shape[-1]
        for name, values in found.items():
            values[start:stop] = _PER_IMAGE[name](part)
        start = stop
    return found


@torch.no_grad()
def validation_score(variant: Variant, x: Tensor, seed: int, samples: int = 1) -> dict[str, float]:
    """Named numbers after an epoch, higher is better; epochs are compared by the first one: the mean ELBO in nats per
    image from ``samples`` posterior samples an image, or the mean negative squared error of an image where the ELBO is
    not defined. With more than one sample, log p(x) stands beside the ELBO."""
    variant.eval()
    seed_everything(seed, "validation")
    if "density" in variant.unavailable():
        return {"validation_negative_squared_error": -mse(x, reconstruct(variant, x)) * x[0].numel()}
    # As many images decoded at once as anywhere else.
    names = ("elbo", "log_likelihood") if samples > 1 else ("elbo",)
    found = _per_image(variant, x, samples, max(BATCH, 20 * samples), names)
    return {f"validation_{name}": float(values.mean()) for name, values in found.items()}


@torch.no_grad()
def represent(variant: Variant, x: Tensor) -> Tensor:
    """Representations (n, features) of all images."""
    return torch.cat([variant.represent(batch) for batch in x.split(BATCH)])


@torch.no_grad()
def reconstruct(variant: Variant, x: Tensor) -> Tensor:
    """Reconstructions (n, channels, height, width) of all images, from the posterior mean."""
    return torch.cat([variant.reconstruct(batch) for batch in x.split(BATCH)])
