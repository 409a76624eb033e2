"""ELBO and importance-sampled log-likelihood: both from one array of log-weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from benchmarks.data import batches
from benchmarks.progress.report import counted_off
from variants import LogWeights, Variant

# So many decoded pixels stay in a processor's cache between the decoder and the sum over them: with K = 5,000, 10,000
# images of 28x28 at once (8 million pixels) took 1.2 to 1.6 times as long as in parts of this size.
CACHED_PIXELS = 2**21


def elbo(log_w: Tensor) -> Tensor:
    """ELBO of each image in nats (batch,), the mean over samples of log-weights ``log_w`` (samples, batch)."""
    return log_w.double().mean(0)


def log_likelihood(log_w: Tensor) -> Tensor:
    """log p(x) of each image in nats (batch,), from below: logsumexp_k log w_k - log K (Burda et al. 2016, eq. 8)."""
    return log_w.double().logsumexp(0) - math.log(len(log_w))


def standard_error(values: Tensor) -> float:
    """Standard error of the mean of ``values`` (n,) over images; infinite for one image."""
    if len(values) < 2:
        return math.inf
    return float(values.double().std() / math.sqrt(len(values)))


def in_units(name: str, values: Tensor, pixels: int | None) -> dict[str, float]:
    """The mean over images of likelihoods ``values`` (n,) in nats under ``name``, its standard error, and bits per
    dimension where ``pixels`` of 8 bits are scored (None: binary ones)."""
    mean = float(values.mean())
    found = {name: mean, f"{name}_se": standard_error(values)}
    if pixels is not None:
        found[f"{name}_bits_per_dim"] = -mean / (pixels * math.log(2))
    return found


# What is measured of every image from its importance weights, in nats (batch,).
PER_IMAGE: dict[str, Callable[[LogWeights], Tensor]] = {
    "elbo": lambda part: elbo(part.value),
    "log_likelihood": lambda part: log_likelihood(part.value),
    "distortion": lambda part: -part.log_likelihood.double().mean(0),
    "kl": lambda part: (part.log_posterior - part.log_prior).double().mean(0),
}


@torch.no_grad()
def log_weights(
    variant: Variant, x: Tensor, samples: int, decodes: int, condition: Tensor | None = None
) -> Iterator[LogWeights]:
    """Importance weights of every image, (samples, batch) at a time.

    Each image is encoded once, and no more than ``decodes`` images are decoded at a time, be it many images with few
    samples or a part of one image's samples.
    """
    cached = max(1, CACHED_PIXELS // x[0].numel())
    if x.device.type == "cpu" and samples > cached:
        decodes = min(decodes, cached)
    for batch, given in batches(x, condition, max(1, decodes // samples)):
        q = variant.posterior(batch, condition=given)
        draws = [min(decodes, samples - start) for start in range(0, samples, decodes)]
        parts = [variant.log_weights(batch, q, count, condition=given) for count in draws]
        yield LogWeights(*(torch.cat(same) for same in zip(*parts, strict=True)))


def per_image(
    variant: Variant, x: Tensor, samples: int, decodes: int, names: Sequence[str], condition: Tensor | None = None
) -> dict[str, Tensor]:
    """Some of ``PER_IMAGE`` for every image (n,), float64, from the same draws.

    Reduced part by part into arrays made beforehand: log-weights kept for all images would pin the heap between the
    decoder's large arrays, 23 GB for 10,000 images with K = 5,000.
    """
    found = {name: x.new_empty(len(x), dtype=torch.float64) for name in names}
    start = 0
    parts = log_weights(variant, x, samples, decodes, condition)
    for part in counted_off(parts, len(x), "images", lambda part: part.log_prior.shape[-1]):
        stop = start + part.log_prior.shape[-1]
        for name, values in found.items():
            values[start:stop] = PER_IMAGE[name](part)
        start = stop
    return found


@torch.no_grad()
def log_likelihood_by_prior(
    variant: Variant, x: Tensor, samples: int, decodes: int, condition: Tensor | None = None
) -> Tensor:
    """log p(x|condition) of each image ``x`` (n, channels, height, width) in nats (n,), float64, a lower bound by draws
    from the prior alone: logsumexp_k log p(x|z_k, condition) - log K, z_k ~ p(z|condition) (Sohn et al. 2015).
    """
    found = []
    parts_of_x = batches(x, condition, max(1, decodes // samples))
    for batch, given in counted_off(parts_of_x, len(x), "images", lambda part: len(part[0])):
        prior = variant.prior(condition=given)
        shape = () if prior.batch_shape else (len(batch),)
        parts = []
        for start in range(0, samples, decodes):
            z = prior.sample(torch.Size([min(decodes, samples - start), *shape]))
            parts.append(variant.likelihood(z, condition=given).log_prob(batch))
        found.append(log_likelihood(torch.cat(parts)))
    return torch.cat(found)


def no_bound(variant: Variant) -> str | None:
    """Why a model has neither ELBO nor importance weights; None where it has them."""
    missing = variant.unavailable()
    return missing.get("prior") or missing.get("posterior_density")


@torch.no_grad()
def log_likelihood_of(
    variant: Variant, x: Tensor, samples: int, decodes: int = 10_000, condition: Tensor | None = None
) -> Tensor:
    """log p(x) of each image ``x`` (n, channels, height, width) in nats (n,), a lower bound by ``samples`` importance
    samples; log p(x|condition) for a conditional model. Raises ``ValueError`` for a model that has no bound."""
    if reason := no_bound(variant):
        raise ValueError(f"log p(x) is not defined: {reason}")
    variant.eval()
    return per_image(variant, x, samples, decodes, ("log_likelihood",), condition)["log_likelihood"]
