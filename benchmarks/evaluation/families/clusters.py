"""Agreement of k-means clusters of codes with the classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.records.catalogue import TASKS, Family, Metric, register

if TYPE_CHECKING:
    from benchmarks.evaluation.evaluate import Context, Evaluation

NEEDS = ("test_classes", "cluster_starts", "no_condition")


def compute(context: Context, result: Evaluation) -> None:
    from benchmarks.evaluation.tasks.clusters import agreement, clusters

    labels = context.data.labels
    assert labels is not None
    found = clusters(context.test_codes, len(labels.unique()), context.config.cluster_starts, context.seed)
    for name, value in agreement(found, labels).items():
        result.add(f"clusters_{name}", value)


register(
    Family(
        name="clusters",
        title="Clusters",
        order=63,
        group=TASKS,
        compute=compute,
        sentence="k-means clustering of the codes of test images, with as many clusters as classes. The best of "
        "`evaluation.cluster_starts` starts, by the criterion of k-means, is used. Labels are only used for the "
        "comparison.",
        headline=("clusters_accuracy",),
        metrics={
            "clusters_accuracy": Metric(
                "clustering accuracy", "fraction", "higher",
                "fraction of test images whose cluster is their class, under the best one-to-one assignment", 3,
                needs=NEEDS,
            ),
            "clusters_nmi": Metric(
                "NMI", "fraction", "higher",
                "mutual information of clusters and classes, divided by the mean of their entropies", 3, needs=NEEDS,
            ),
        },
    )
)  # fmt: skip
