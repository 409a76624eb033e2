"""Likelihoods of test images, in nats and, if pixels have 8 bits, in bits per dimension."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.records.catalogue import Family, Metric, register

if TYPE_CHECKING:
    from benchmarks.evaluation.evaluate import Context, Evaluation

BOUND = ("prior", "posterior_density")


def compute(context: Context, result: Evaluation) -> None:
    from benchmarks.evaluation.likelihood import in_units

    found = context.likelihoods
    for bound in ("elbo", "log_likelihood"):
        for name, value in in_units(bound, found[bound], context.pixels_of_8_bits).items():
            result.add(name, value, found[bound])
    for name in ("distortion", "kl"):
        result.add(name, float(found[name].mean()), found[name])


register(
    Family(
        name="likelihood",
        title="Likelihood",
        order=10,
        compute=compute,
        headline=("log_likelihood_bits_per_dim", "log_likelihood"),
        metrics={
            "elbo": Metric(
                "ELBO", "nats/image", "higher",
                "evidence lower bound, the mean over images and posterior samples of log p(x|z) + log p(z) - "
                "log q(z|x)",
                needs=BOUND, standard_error="elbo_se", in_other_unit="elbo_bits_per_dim", summary=True,
            ),
            "elbo_se": Metric(
                "ELBO s.e.", "nats/image", None, "standard error of the ELBO over images", needs=BOUND, column=False,
            ),
            "elbo_bits_per_dim": Metric(
                "ELBO", "bits/dim", "lower", "the negative ELBO in bits per pixel channel", 3,
                needs=BOUND, column=False, eight_bit=True, summary=True,
            ),
            "log_likelihood": Metric(
                "log p(x)", "nats/image", "higher",
                "importance-sampled lower bound on the log-likelihood: log-mean-exp over K posterior samples of log "
                "p(x|z) + log p(z) - log q(z|x)",
                needs=BOUND, standard_error="log_likelihood_se", in_other_unit="log_likelihood_bits_per_dim",
                summary=True, plotted_against=("train_seconds",),
            ),
            "log_likelihood_se": Metric(
                "log p(x) s.e.", "nats/image", None, "standard error of log p(x) over images",
                needs=BOUND, column=False,
            ),
            "log_likelihood_bits_per_dim": Metric(
                "log p(x)", "bits/dim", "lower", "the negative log p(x) in bits per pixel channel", 3,
                needs=BOUND, column=False, eight_bit=True, summary=True,
            ),
            "distortion": Metric(
                "distortion", "nats/image", "lower", "-E_q log p(x|z), the reconstruction term of the ELBO",
                needs=BOUND, column=False,
            ),
            "kl": Metric(
                "KL", "nats/image", None, "KL(q(z|x) ‖ p(z)), the KL term of the ELBO (the rate), by Monte Carlo",
                needs=BOUND, wide=True,
            ),
        },
    )
)  # fmt: skip
