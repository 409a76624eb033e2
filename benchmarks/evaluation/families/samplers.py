"""Sample quality with latent vectors from a density other than the prior."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.records.catalogue import Family, Metric, register

if TYPE_CHECKING:
    from benchmarks.evaluation.evaluate import Context, Evaluation

MIXTURE_COMPONENTS = 10


def compute(context: Context, result: Evaluation) -> None:
    """Use a mixture of Gaussians, fitted to the codes of training images, in place of the prior."""
    import torch

    from benchmarks.evaluation.evaluate import batched
    from benchmarks.evaluation.representation import fit_mixture

    variant = context.variant
    if context.missing("continuous_latent") or not context.missing("discrete_latent"):
        result.not_applicable["fid_features_gmm"] = "a mixture of Gaussians needs a continuous latent vector"
        return
    if (count := len(context.data.probe)) < MIXTURE_COMPONENTS:
        reason = f"a mixture of {MIXTURE_COMPONENTS} Gaussians needs as many training images, not {count}"
        result.not_applicable["fid_features_gmm"] = reason
        return
    codes = context.of_probe(lambda x, condition: variant.code(variant.posterior(x)))
    mixture = fit_mixture(codes, MIXTURE_COMPONENTS, context.seed)
    drawn, _ = mixture.sample(context.config.generated_images)
    images = batched(lambda z, condition: variant.image(z), torch.from_numpy(drawn).to(codes), None)
    if not images.isfinite().all():
        result.not_applicable["fid_features_gmm"] = "generated images are not finite"
        return
    space = context.spaces["features"]
    result.add_distance("fid_features_gmm", space, space(images))


register(
    Family(
        name="samplers",
        title="Samplers",
        order=30,
        compute=compute,
        sentence="FID of images decoded from draws of the prior, and from draws of a mixture of "
        f"{MIXTURE_COMPONENTS} Gaussians fitted to the codes of training images. A large difference means that the "
        "prior does not match the aggregate posterior.",
        metrics={
            "fid_features_gmm": Metric(
                "FID, mixture sampler", "distance", "lower",
                "Fréchet distance, in features of a classifier of this data set, of images decoded from draws of a "
                f"mixture of {MIXTURE_COMPONENTS} Gaussians fitted to the codes of training images, instead of the "
                "prior",
                needs=("features", "no_condition", "training_images"), judged=True,
            ),
        },
    )
)  # fmt: skip
