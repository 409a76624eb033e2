"""ELBO and importance-sampled log-likelihood, both from the same array of log-weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from benchmarks.data import batches
from benchmarks.progress.report import counted_off
from variants import LogWeights, Variant

# Number of decoded pixels that stay in the processor's cache between the decoder and the sum over pixels. With
# K = 5,000, decoding 10,000 images of 28x28 at once (8 million pixels) took 1.2 to 1.6 times as long as decoding them
# in parts of this size.
CACHED_PIXELS = 2**21


def elbo(log_w: Tensor) -> Tensor:
    """ELBO of each image in nats (batch,): the mean over samples of the log-weights ``log_w`` (samples, batch)."""
    return log_w.double().mean(0)


def log_likelihood(log_w: Tensor) -> Tensor:
    """Lower bound on log p(x) of each image, nats (batch,): logsumexp_k log w_k - log K (Burda et al. 2016, eq. 8)."""
    return log_w.double().logsumexp(0) - math.log(len(log_w))


def standard_error(values: Tensor) -> float:
    """Standard error of the mean over images of ``values`` (n,); infinite for a single image."""
    if len(values) < 2:
        return math.inf
    return float(values.double().std() / math.sqrt(len(values)))


def in_units(name: str, values: Tensor, pixels: int | None) -> dict[str, float]:
    """Metrics of log-likelihoods ``values`` (n,) in nats: the mean over images under ``name``, and its standard error.

    If ``pixels``, the number of 8-bit pixel channels that are scored, is not None, the result also has bits per
    dimension. It is None for binary pixels.
    """
    mean = float(values.mean())
    found = {name: mean, f"{name}_se": standard_error(values)}
    if pixels is not None:
        found[f"{name}_bits_per_dim"] = -mean / (pixels * math.log(2))
    return found


# Quantities computed for each image from its importance weights, in nats (batch,).
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
    """Yield the importance weights of all images, one batch (samples, batch) at a time.

    Each image is encoded once. At most ``decodes`` images are decoded at a time: several images with all their samples,
    or a part of the samples of one image.
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
    """The quantities ``names`` of :data:`PER_IMAGE` for each image (n,), float64, from the same draws.

    The log-weights of each batch are reduced into preallocated arrays. Keeping the log-weights of all images would
    fragment the heap between the decoder's large arrays, which took 23 GB for 10,000 images with K = 5,000.
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
    """Lower bound on log p(x|condition) in nats (n,), float64, with draws from the prior instead of the posterior.

    For each image ``x`` (n, channels, height, width): logsumexp_k log p(x|z_k, condition) - log K,
    z_k ~ p(z|condition) (Sohn et al. 2015).
    """
    found = []
    parts_of_x = batches(x, condition, max(1, decodes // samples))
    for batch, given in counted_off(parts_of_x, len(x), "images", lambda part: len(part[0])):
        draw_prior = _prior_draws(variant, len(batch), given)
        parts = []
        for start in range(0, samples, decodes):
            z = draw_prior(min(decodes, samples - start))
            parts.append(variant.likelihood(z, condition=given).log_prob(batch))
        found.append(log_likelihood(torch.cat(parts)))
    return torch.cat(found)


def _prior_draws(variant: Variant, count: int, condition: Tensor | None) -> Callable[[int], Tensor]:
    """A function of a number of draws: latent vectors for ``variant.decode`` (draws, count, latent), drawn from the
    prior given ``condition``."""
    if type(variant).sample_latent is Variant.sample_latent:
        # One level of latent variables. sample_latent would draw the same distribution with other random numbers.
        prior = variant.prior(condition=condition)
        each = [] if prior.batch_shape else [count]
        return lambda draws: prior.sample(torch.Size([draws, *each]))

    def of_all_levels(draws: int) -> Tensor:
        given = None if condition is None else condition.repeat(draws, *(1 for _ in condition.shape[1:]))
        return variant.sample_latent(draws * count, condition=given).unflatten(0, (draws, count))

    return of_all_levels


def no_bound(variant: Variant) -> str | None:
    """The reason why a model has neither an ELBO nor importance weights, or None if it has them."""
    missing = variant.unavailable()
    return missing.get("prior") or missing.get("posterior_density")


@torch.no_grad()
def log_likelihood_of(
    variant: Variant, x: Tensor, samples: int, decodes: int = 10_000, condition: Tensor | None = None
) -> Tensor:
    """Lower bound on log p(x) of each image ``x`` (n, channels, height, width) in nats (n,).

    The bound uses ``samples`` importance samples. For a conditional model, it is a bound on log p(x|condition). Raises
    ``ValueError`` for a model without a bound.
    """
    if reason := no_bound(variant):
        raise ValueError(f"log p(x) is not defined: {reason}")
    variant.eval()
    return per_image(variant, x, samples, decodes, ("log_likelihood",), condition)["log_likelihood"]
