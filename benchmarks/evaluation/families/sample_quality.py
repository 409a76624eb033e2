"""Samples from the prior compared with test images in every feature space. All spaces use the same samples."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from benchmarks.records.catalogue import Family, Metric, register
from benchmarks.records.record import KID_BLOCKS

if TYPE_CHECKING:
    from benchmarks.evaluation.evaluate import Context, Evaluation

# Maximum number of images of each kind for nearest neighbours, whose cost grows with the square of this number.
MANIFOLD_IMAGES = 2000
# Nearest neighbours that set the radius of a neighbourhood. Kynkäänniemi et al. use 3, Naeem et al. 5.
NEIGHBOURS = 5
MANIFOLD = ("precision", "recall", "density", "coverage")
OWN, INCEPTION = ("features", "generated_images"), ("inception", "generated_images")


def compute(context: Context, result: Evaluation) -> None:
    from benchmarks.evaluation.features.kid import BLOCK, kid

    for name, space in context.spaces.items():
        features = context.generated_features(name)
        result.add_distance(f"fid_{name}", space, features)
        value, error = kid(features, space.reference)
        result.add(f"kid_{name}", value)
        if math.isfinite(error):
            result.add(f"kid_{name}_se", error)
        else:
            result.not_applicable[f"kid_{name}_se"] = f"a standard error needs two blocks of {BLOCK} images"
        result.details[KID_BLOCKS] = "random"
    if "features" in context.spaces:
        _manifold(context, result)


def _manifold(context: Context, result: Evaluation) -> None:
    from benchmarks.evaluation.features.manifold import manifold

    features, reference = context.generated_features("features"), context.spaces["features"].reference
    size = min(MANIFOLD_IMAGES, len(features), len(reference))
    try:
        four = manifold(reference[:size], features[:size], NEIGHBOURS)
    except ValueError as error:
        result.not_applicable |= dict.fromkeys(MANIFOLD, str(error))
    else:
        for name in MANIFOLD:
            result.add(name, getattr(four, name))


register(
    Family(
        name="sample_quality",
        title="Sample quality",
        order=20,
        compute=compute,
        headline=("fid_features", "fid_inception"),
        explains_distances=True,
        sentence="{generated_images} mean images of draws from the prior (of a conditional model, given the conditions "
        "of test images), rounded to 8 bits, compared with all images of the test split in 8 bits (before a "
        "binarisation). The FID depends on the number of images, the KID does not. Precision, recall, density and "
        f"coverage use the first {MANIFOLD_IMAGES:,} of each kind at most, and {NEIGHBOURS} nearest neighbours. "
        "*Classifier features* are those of a classifier of this data set, which describe these images better than "
        "ImageNet features do.",
        metrics={
            "fid_features": Metric(
                "FID, classifier features", "distance", "lower",
                "Fréchet distance between generated and test images, in features of a classifier of this data set",
                needs=OWN, judged=True, also_in={"samplers": 0}, summary=True, plotted_against=("log_likelihood",),
            ),
            "kid_features": Metric(
                "KID, classifier features", "distance", "lower",
                "squared MMD (unbiased, mean over blocks of 500 images) with the kernel (a·b / d + 1)^3 between "
                "generated and test images, in the d features of a classifier of this data set", 3,
                needs=OWN, standard_error="kid_features_se", judged=True,
            ),
            "kid_features_se": Metric(
                "KID s.e.", "distance", None, "standard error of the KID over its blocks", 3,
                needs=OWN, judged=True, column=False,
            ),
            "precision": Metric(
                "precision", "fraction", "higher",
                "fraction of generated images inside the manifold of test images, in the classifier's features: "
                "fidelity (Kynkäänniemi et al. 2019)", 3,
                needs=OWN, judged=True,
            ),
            "recall": Metric(
                "recall", "fraction", "higher",
                "fraction of test images inside the manifold of generated images: diversity (Kynkäänniemi et al. 2019)",
                3,
                needs=OWN, judged=True,
            ),
            "density": Metric(
                "density", "ratio", "higher",
                "mean number of test images whose neighbourhood contains a generated image, divided by the number of "
                "neighbours: fidelity, robust to outliers (Naeem et al. 2020)", 3,
                needs=OWN, judged=True,
            ),
            "coverage": Metric(
                "coverage", "fraction", "higher",
                "fraction of test images with a generated image in their neighbourhood: diversity (Naeem et al. 2020)",
                3,
                needs=OWN, judged=True,
            ),
            "fid_inception": Metric(
                "FID, Inception", "distance", "lower",
                "Fréchet distance between generated and test images in pytorch-fid's Inception features",
                needs=INCEPTION,
            ),
            "kid_inception": Metric(
                "KID, Inception", "distance", "lower",
                "the same squared MMD (unbiased, mean over blocks of 500 images) in Inception features", 4,
                needs=INCEPTION, standard_error="kid_inception_se", column=False,
            ),
            "kid_inception_se": Metric(
                "KID s.e.", "distance", None, "standard error of the KID over its blocks", 4,
                needs=INCEPTION, column=False,
            ),
        },
    )
)  # fmt: skip
