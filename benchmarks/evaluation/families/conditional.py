"""How much probability a conditional model gives to test images by its prior alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.records.catalogue import Family, Metric, register

if TYPE_CHECKING:
    from benchmarks.evaluation.evaluate import Context, Evaluation

NEEDS = ("condition", "prior")


def compute(context: Context, result: Evaluation) -> None:
    import math

    from benchmarks.data import scored
    from benchmarks.evaluation.likelihood import log_likelihood_by_prior, standard_error

    x, condition, config = context.data.x, context.data.condition, context.config
    values = log_likelihood_by_prior(context.variant, x, config.importance_samples, config.decodes, condition)
    result.add("log_likelihood_by_prior", float(values.mean()))
    result.add("log_likelihood_by_prior_se", standard_error(values))
    if not context.variant.observation.binary:
        bits = -float(values.mean()) / (scored(x, condition) * math.log(2))
        result.add("log_likelihood_by_prior_bits_per_dim", bits)


register(
    Family(
        name="conditional",
        title="Conditional likelihood by the prior",
        order=15,
        compute=compute,
        sentence="log p(x\\|condition) from {importance_samples} draws of the prior p(z\\|condition), which has not "
        "seen what is predicted; the leaderboard's estimate has as many draws of q(z\\|x, condition). Both are lower "
        "bounds.",
        metrics={
            "log_likelihood_by_prior": Metric(
                "log p(x|condition) by the prior", "nats/image", "higher",
                "logsumexp over K draws of the prior of log p(x|z, condition), minus log K",
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
