"""Quality of posterior means as representations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.records.catalogue import Family, Metric, register

if TYPE_CHECKING:
    from benchmarks.evaluation.evaluate import Context, Evaluation


def compute(context: Context, result: Evaluation) -> None:
    from benchmarks.evaluation.representation import active_units, knn_accuracy, linear_probe_accuracy

    variant, data = context.variant, context.data
    if len(data.x) < 2:
        result.not_applicable["active_units"] = "one image has no variance"
    elif not context.missing("continuous_latent") and not context.missing("no_condition"):
        scaled = context.missing("prior") is None
        result.add("active_units", active_units(context.of_test(variant.latent_means), scaled))
    if not context.missing("classes") and not context.missing("no_condition"):
        assert data.labels is not None
        assert data.probe_labels is not None
        train, test = context.probe_codes, context.test_codes
        result.add("knn_accuracy", knn_accuracy(train, data.probe_labels, test, data.labels))
        result.add("linear_probe_accuracy", linear_probe_accuracy(train, data.probe_labels, test, data.labels))


register(
    Family(
        name="representation",
        title="Representation",
        order=50,
        compute=compute,
        sentence="How much posterior means tell about the image and its class. Variants see no labels in training, "
        "except those that are conditioned on the class, and `dfc_vae`, whose loss compares features of a classifier.",
        headline=("linear_probe_accuracy",),
        metrics={
            "knn_accuracy": Metric(
                "10-NN accuracy", "fraction", "higher",
                "accuracy on test images of a 10-nearest-neighbour classifier on posterior means of training images", 3,
                needs=("classes", "no_condition"),
            ),
            "linear_probe_accuracy": Metric(
                "linear probe", "fraction", "higher",
                "accuracy on test images of a logistic regression trained on posterior means of training images", 3,
                needs=("classes", "no_condition"), summary=True,
            ),
            "active_units": Metric(
                "active units", "dimensions", None,
                "latent dimensions whose posterior mean has a variance above 0.01 over test images (Burda et al. "
                "2016); without a prior, which fixes the scale of codes, above 1% of the largest variance", 0,
                needs=("continuous_latent", "no_condition"), also_in={"likelihood": 3},
            ),
        },
    )
)  # fmt: skip
