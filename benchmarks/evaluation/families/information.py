"""Information of latent vectors about the image, shown as columns of the representation table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.records.catalogue import Family, Metric, register

if TYPE_CHECKING:
    from benchmarks.evaluation.evaluate import Context, Evaluation

NEEDS = ("prior", "posterior_density", "density_elsewhere", "continuous_latent", "no_condition")


def compute(context: Context, result: Evaluation) -> None:
    import torch

    from benchmarks.evaluation.evaluate import BATCH
    from benchmarks.evaluation.information import densities, has_pairwise_log_prob, information

    variant, x = context.variant, context.data.x
    if has_pairwise_log_prob(variant.posterior(x[:1])):
        posteriors = [variant.posterior(batch) for batch in x.split(BATCH)]
    else:
        posteriors = [variant.posterior(x[: context.config.information_images])]
    z = torch.cat([q.sample() for q in posteriors])
    mutual, marginal = information(*densities(posteriors, z), variant.prior().log_prob(z))
    result.add("mutual_information", mutual)
    result.add("aggregate_kl", marginal)
    result.details["information_images"] = len(z)


register(
    Family(
        name="information",
        title="Information",
        order=60,
        compute=compute,
        metrics={
            "mutual_information": Metric(
                "I(x; z)", "nats", "higher",
                "mutual information of image and latent vector, with the aggregate posterior of n test images; the "
                "estimate cannot exceed log n",
                needs=NEEDS, column=False, also_in={"representation": 3},
            ),
            "aggregate_kl": Metric(
                "KL(q(z) ‖ p(z))", "nats", "lower",
                "divergence of the aggregate posterior from the prior: the mean KL(q(z|x) ‖ p(z)) minus the estimate "
                "of I(x; z). An upper bound, which is loose where I(x; z) is near its limit log n",
                needs=NEEDS, column=False, also_in={"representation": 4},
            ),
        },
    )
)  # fmt: skip
