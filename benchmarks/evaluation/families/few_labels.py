"""How well classes are told from codes where few images have a label."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.records.catalogue import TASKS, Family, Metric, register

if TYPE_CHECKING:
    from benchmarks.evaluation.evaluate import Context, Evaluation

# Number of labels -> how many nearest neighbours vote. With 10 images a class, more of them would outvote the right
# ones.
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
    labelled = f"{count:,} labelled training images, the mean over 10 draws of them"
    vote = "the label of the nearest" if neighbours == 1 else f"the vote of the {neighbours} nearest"
    return {
        f"few_labels_{count}_linear": Metric(
            f"linear, {count:,} labels", "share", "higher",
            f"accuracy on test images of a logistic regression on the codes of {labelled}", 3, needs=NEEDS,
        ),
        f"few_labels_{count}_knn": Metric(
            f"{neighbours}-NN, {count:,} labels", "share", "higher",
            f"accuracy on test images of {vote} in codes, of {labelled}", 3, needs=NEEDS,
        ),
    }  # fmt: skip


register(
    Family(
        name="few_labels",
        title="Few labels",
        order=62,
        group=TASKS,
        compute=compute,
        sentence="Classifiers on codes, given few labels. Each of the 10 draws has equally many images of every class, "
        "drawn by fixed seeds from the training images that classifiers are fitted on elsewhere ({probe_images} of "
        "them), the same draws for every variant. The classifiers see nothing but the codes and labels of a draw, and "
        "no variant sees a label in training; a teacher network, where a loss compares features, has seen them all.",
        headline=("few_labels_100_linear",),
        metrics={name: metric for entry in NEIGHBOURS.items() for name, metric in _metrics(*entry).items()},
    )
)
