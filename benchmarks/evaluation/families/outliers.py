"""How well a model's scores separate outliers from test images."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from benchmarks.records.catalogue import TASKS, Family, Metric, register
from benchmarks.records.record import ROC_FILE

if TYPE_CHECKING:
    from torch import Tensor

    from benchmarks.evaluation.evaluate import Context, Evaluation

# Maximum number of test images, and of outliers. With 1,000 of each, the standard error of an AUROC A is at most
# (A (1 - A) / 1,000)^(1/2), which is at most 0.016.
IMAGES = 1000
BOUND = ("prior", "posterior_density")
# Score -> its label, its meaning, and its needs.
SCORES = {
    "mse": ("squared error", "the squared reconstruction error", ("reconstructions",)),
    "elbo": ("-ELBO", "the negative ELBO", BOUND),
    "log_likelihood": ("-log p(x)", "the negative log p(x) by importance sampling", BOUND),
}
# Setting -> its label, and a description of the outliers.
SETTINGS = {
    "dataset": ("other data", "of another data set, resized and preprocessed like test images"),
    "class": ("left-out class", "of the class, or the classes, left out of training"),
}


def compute(context: Context, result: Evaluation) -> None:
    import torch

    from benchmarks.evaluation.tasks.outliers import auroc, curve_table, roc

    count = len(context.data.x[:IMAGES])
    scores = [score for score, (_, _, needs) in SCORES.items() if not any(map(context.missing, needs))]
    inside = _of_test_images(context, scores)
    curves = []
    for setting, found in context.outliers.items():
        if setting not in SETTINGS:
            continue
        # No more outliers than test images: an evaluation of few test images is meant to be short.
        x = found.x[:count]
        outliers = _of_outliers(context, x, scores)
        for score in scores:
            area = auroc(inside[score], outliers[score])
            name = f"outliers_{setting}_auroc_{score}"
            # There are neither an AUROC nor a curve if a score is NaN. Infinite scores have a rank.
            if math.isnan(area):
                both = torch.cat([inside[score], outliers[score]])
                reason = f"the score of {int(both.isnan().sum()):,} of {len(both):,} images is not a number"
                result.not_applicable[name] = reason
            else:
                result.add(name, area)
                curves.append((setting, score, roc(inside[score], outliers[score])))
        result.details[f"outliers_{setting}"] = {**found.facts, "test_images": count, "outliers": len(x)}
    result.tables[ROC_FILE] = curve_table(curves)


def _of_test_images(context: Context, scores: list[str]) -> dict[str, Tensor]:
    """Scores of the first test images (n,), from quantities that other families share."""
    from benchmarks.evaluation.tasks.outliers import squared_errors

    found = {}
    for score in scores:
        if score == "mse":
            found[score] = squared_errors(context.data.x[:IMAGES], context.reconstructions[:IMAGES])
        else:
            found[score] = -context.likelihoods[score][:IMAGES]
    return found


def _of_outliers(context: Context, x: Tensor, scores: list[str]) -> dict[str, Tensor]:
    """The same scores for the outliers ``x`` (m, channels, height, width)."""
    from benchmarks.evaluation.evaluate import batched
    from benchmarks.evaluation.likelihood import per_image
    from benchmarks.evaluation.tasks.outliers import squared_errors

    variant, config = context.variant, context.config
    found = {"mse": squared_errors(x, batched(variant.reconstruct, x, None))} if "mse" in scores else {}
    if bounds := [score for score in scores if score != "mse"]:
        likelihoods = per_image(variant, x, config.importance_samples, config.decodes, bounds)
        found |= {score: -values for score, values in likelihoods.items()}
    return found


def _metrics() -> dict[str, Metric]:
    return {
        f"outliers_{setting}_auroc_{score}": Metric(
            f"{where}: {label}", "AUROC", "higher",
            f"AUROC of {meaning} for telling test images from images {which}, at most the first {IMAGES:,} of each", 3,
            needs=("no_condition", f"outliers_{setting}", *needs),
        )
        for setting, (where, which) in SETTINGS.items()
        for score, (label, meaning, needs) in SCORES.items()
    }  # fmt: skip


register(
    Family(
        name="outliers",
        title="Outliers",
        order=64,
        group=TASKS,
        compute=compute,
        sentence="AUROC is the probability that an outlier has a higher score than a test image (ties count one half). "
        "0.5 is chance level; below 0.5, outliers look more typical than test images. Each score is computed from one "
        "image alone, and nothing is fitted to outliers or selected on them. The scores can disagree, so all are "
        "shown. The table at the top of the board says which images are outliers.",
        headline=(
            "outliers_dataset_auroc_log_likelihood", "outliers_dataset_auroc_mse", "outliers_class_auroc_mse",
        ),
        metrics=_metrics(),
    )
)  # fmt: skip
