"""Log-likelihood of test images under a conditional model, estimated with draws from its prior."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.records.catalogue import Family, Metric, register

if TYPE_CHECKING:
    from benchmarks.evaluation.evaluate import Context, Evaluation

NEEDS = ("condition", "prior")


def compute(context: Context, result: Evaluation) -> None:
    from benchmarks.evaluation.likelihood import in_units, log_likelihood_by_prior

    x, condition, config = context.data.x, context.data.condition, context.config
    values = log_likelihood_by_prior(context.variant, x, config.importance_samples, config.decodes, condition)
    for name, value in in_units("log_likelihood_by_prior", values, context.pixels_of_8_bits).items():
        result.add(name, value)


register(
    Family(
        name="conditional",
        title="Conditional likelihood by the prior",
        order=15,
        compute=compute,
        sentence="log p(x\\|condition), estimated with {importance_samples} draws from the prior p(z\\|condition), "
        "which does not see the predicted pixels. The leaderboard's estimate uses as many draws from q(z\\|x, "
        "condition). Both are lower bounds.",
        metrics={
            "log_likelihood_by_prior": Metric(
                "log p(x|condition) by the prior", "nats/image", "higher",
                "log-mean-exp of log p(x|z, condition) over K draws from the prior",
                needs=NEEDS, standard_error="log_likelihood_by_prior_se",
                in_other_unit="log_likelihood_by_prior_bits_per_dim", summary=True,
            ),
            "log_likelihood_by_prior_se": Metric(
                "log p(x|condition) by the prior, s.e.", "nats/image", None,
                "standard error of the estimate by the prior over images", needs=NEEDS, column=False,
            ),
            "log_likelihood_by_prior_bits_per_dim": Metric(
                "log p(x|condition) by the prior", "bits/dim", "lower",
                "the negative estimate by the prior in bits per pixel channel that is predicted", 3,
                needs=NEEDS, column=False, eight_bit=True, summary=True,
            ),
        },
    )
)  # fmt: skip
