"""What every metric in a record means: its label, unit, direction and the sentence that a report prints.

Imports nothing heavy: reports read it on machines without torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """``better`` is the direction in which a larger number is read; None where neither is better."""

    label: str
    unit: str
    better: Literal["higher", "lower"] | None
    family: Literal["likelihood", "reconstruction", "sample_quality", "representation"]
    meaning: str
    decimals: int = 2
    # The standard error over images, where the record has one, stands under this name.
    standard_error: str | None = None


CATALOGUE: dict[str, Metric] = {
    "elbo": Metric(
        "ELBO", "nats/image", "higher", "likelihood",
        "evidence lower bound, the mean over images and posterior samples of log p(x|z) + log p(z) - log q(z|x)",
        2, "elbo_se",
    ),
    "elbo_se": Metric("ELBO s.e.", "nats/image", None, "likelihood", "standard error of the ELBO over images"),
    "log_likelihood": Metric(
        "log p(x)", "nats/image", "higher", "likelihood",
        "importance-sampled lower bound on the log-likelihood, logsumexp over K posterior samples minus log K",
        2, "log_likelihood_se",
    ),
    "log_likelihood_se": Metric(
        "log p(x) s.e.", "nats/image", None, "likelihood", "standard error of log p(x) over images"
    ),
    "distortion": Metric(
        "distortion", "nats/image", "lower", "likelihood", "-E_q log p(x|z), the ELBO's reconstruction part"
    ),
    "kl": Metric("KL", "nats/image", None, "likelihood", "KL(q(z|x) ‖ p(z)), the ELBO's rate, by Monte Carlo"),
    "elbo_bits_per_dim": Metric(
        "ELBO", "bits/dim", "lower", "likelihood", "the negative ELBO in bits per pixel channel", 3
    ),
    "log_likelihood_bits_per_dim": Metric(
        "log p(x)", "bits/dim", "lower", "likelihood", "the negative log p(x) in bits per pixel channel", 3
    ),
    "active_units": Metric(
        "active units", "dimensions", None, "representation",
        "latent dimensions whose posterior mean varies over test images by more than 0.01 (Burda et al. 2016)", 0,
    ),
    "code_perplexity": Metric(
        "code perplexity", "values in use", None, "representation",
        "exponential of the entropy of a discrete latent variable's usage over test images, averaged over variables", 1,
    ),
    "category_accuracy": Metric(
        "category accuracy", "share", "higher", "representation",
        "share of test images whose discrete category is their class, under the best one-to-one assignment", 3,
    ),
    "mse": Metric(
        "MSE", "per pixel", "lower", "reconstruction",
        "squared error per pixel channel of the mean image decoded from the posterior mean", 4,
    ),
}  # fmt: skip
