"""Accuracy of classifiers on codes when only few images have labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.records.catalogue import TASKS, Family, Metric, register

if TYPE_CHECKING:
    from benchmarks.evaluation.evaluate import Context, Evaluation

# Number of labels -> number of nearest neighbours that vote. With only 10 images per class, more neighbours
# would outvote those of the right class.
NEIGHBOURS = {100: 1, 1000: 5}
NEEDS = ("classes", "no_condition")


def compute(context: Context, result: Evaluation) -> None:
    from benchmarks.evaluation.tasks.few_labels import balanced_draws, few_labels_accuracy

    data = context.data
    assert data.labels is not None
    assert data.probe_labels is not None
    for count, neighbours in NEIGHBOURS.items():
        names = (f"few_labels_{count}_linear", f"few_labels_{count}_knn")
        try:
            draws = balanced_draws(data.probe_labels, count)
        except ValueError as error:
            result.not_applicable |= dict.fromkeys(names, str(error))
            continue
        accuracies = few_labels_accuracy(
            context.probe_codes, data.probe_labels, context.test_codes, data.labels, draws, neighbours
        )
        for name, accuracy in zip(names, accuracies, strict=True):
            result.add(name, accuracy)


def _metrics(count: int, neighbours: int) -> dict[str, Metric]:
    labelled = f"the codes of {count:,} labelled training images, the mean over 10 draws of such images"
    vote = f"a {neighbours}-nearest-neighbour classifier"
    return {
        f"few_labels_{count}_linear": Metric(
            f"linear, {count:,} labels", "fraction", "higher",
            f"accuracy on test images of a logistic regression on {labelled}", 3, needs=NEEDS,
        ),
        f"few_labels_{count}_knn": Metric(
            f"{neighbours}-NN, {count:,} labels", "fraction", "higher",
            f"accuracy on test images of {vote} on {labelled}", 3, needs=NEEDS,
        ),
    }  # fmt: skip


register(
    Family(
        name="few_labels",
        title="Few labels",
        order=62,
        group=TASKS,
        compute=compute,
        sentence="Accuracy of classifiers on latent codes when only few images have labels, averaged over 10 draws. "
        "Each draw has the same number of images of every class (or one more of some), selected with fixed seeds from "
        "the {probe_images} training images that the other classifiers use; all variants have the same draws. A "
        "classifier sees only the codes and labels of its draw, and variants see no labels in training. An exception "
        "is `dfc_vae`, whose loss compares features of a classifier that was trained with all labels.",
        headline=("few_labels_100_linear",),
        metrics={name: metric for entry in NEIGHBOURS.items() for name, metric in _metrics(*entry).items()},
    )
)
