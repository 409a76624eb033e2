"""The one evaluation code: every number of a record, for every variant, from its three distributions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from benchmarks.config import EvaluationConfig
from benchmarks.metrics.latent import active_units, category_accuracy, code_perplexity
from benchmarks.metrics.likelihood import elbo, log_likelihood, standard_error
from benchmarks.metrics.reconstruction import mse
from benchmarks.seeding import seed_everything
from variants import LogWeights, Variant

# Images encoded or decoded at once where no samples multiply them.
BATCH = 500
LIKELIHOOD_METRICS = ("elbo", "elbo_se", "log_likelihood", "log_likelihood_se", "distortion", "kl")


@dataclass
class Evaluation:
    """``metrics``: finite numbers. ``not_applicable``: the reason for each one that there is not."""

    metrics: dict[str, float] = field(default_factory=dict)
    not_applicable: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, value: float) -> None:
        """Enter a number, or the fact that it is not finite."""
        if math.isfinite(value):
            self.metrics[name] = value
        else:
            self.not_applicable[name] = f"not finite ({value})"


@torch.no_grad()
def evaluate(variant: Variant, x: Tensor, labels: Tensor | None, config: EvaluationConfig, seed: int) -> Evaluation:
    """All metrics of ``variant`` on test images ``x`` (n, channels, height, width), as its observation model sees them,
    and their ``labels`` (n,), which no model saw in training.

    Likelihoods are in nats per image, and in bits per dimension where pixels have 8 bits.
    """
    variant.eval()
    seed_everything(seed, "evaluation")
    result = Evaluation()
    _likelihood(result, variant, x, config)
    if reason := variant.unavailable().get("continuous_latent"):
        result.not_applicable["active_units"] = reason
    else:
        result.add("active_units", active_units(torch.cat([variant.latent_means(batch) for batch in x.split(BATCH)])))
    _discrete(result, variant, x, labels)
    result.add("mse", mse(x, reconstruct(variant, x)))
    return result


def _likelihood(result: Evaluation, variant: Variant, x: Tensor, config: EvaluationConfig) -> None:
    bits = not variant.observation.binary
    in_bits = ("elbo_bits_per_dim", "log_likelihood_bits_per_dim") if bits else ()
    if reason := variant.unavailable().get("density"):
        result.not_applicable |= dict.fromkeys((*LIKELIHOOD_METRICS, *in_bits), reason)
        return
    parts = list(log_weights(variant, x, config.importance_samples, config.decodes))
    per_image = {
        "elbo": torch.cat([elbo(part.value) for part in parts]),
        "log_likelihood": torch.cat([log_likelihood(part.value) for part in parts]),
    }
    for name, values in per_image.items():
        result.add(name, float(values.mean()))
        result.add(f"{name}_se", standard_error(values))
        if bits:
            result.add(f"{name}_bits_per_dim", -float(values.mean()) / (x[0].numel() * math.log(2)))
    result.add("distortion", float(torch.cat([-part.log_likelihood.double().mean(0) for part in parts]).mean()))
    kl = torch.cat([(part.log_posterior - part.log_prior).double().mean(0) for part in parts])
    result.add("kl", float(kl.mean()))


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
    return torch.cat([log_likelihood(part.value) for part in log_weights(variant, x, samples, decodes)])


@torch.no_grad()
def validation_score(variant: Variant, x: Tensor, seed: int) -> dict[str, float]:
    """One number by which epochs are compared, higher is better, under its name: the mean ELBO in nats per image from
    one posterior sample an image, or the mean negative squared error of an image where the ELBO is not defined."""
    variant.eval()
    seed_everything(seed, "validation")
    if "density" in variant.unavailable():
        return {"validation_negative_squared_error": -mse(x, reconstruct(variant, x)) * x[0].numel()}
    values = torch.cat([elbo(part.value) for part in log_weights(variant, x, 1, BATCH)])
    return {"validation_elbo": float(values.mean())}


@torch.no_grad()
def reconstruct(variant: Variant, x: Tensor) -> Tensor:
    """Reconstructions (n, channels, height, width) of all images, from the posterior mean."""
    return torch.cat([variant.reconstruct(batch) for batch in x.split(BATCH)])
