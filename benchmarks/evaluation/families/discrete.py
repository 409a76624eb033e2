"""Metrics of discrete latent variables, shown as columns of the representation table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.records.catalogue import Family, Metric, register

if TYPE_CHECKING:
    from torch import Tensor

    from benchmarks.evaluation.evaluate import Context, Evaluation


def compute(context: Context, result: Evaluation) -> None:
    from benchmarks.evaluation.discrete import category_accuracy, code_perplexity

    def discrete_code(x: Tensor, condition: Tensor | None) -> Tensor:
        code = context.variant.discrete_code(x, condition=condition)
        assert code is not None
        return code

    codes = context.of_test(discrete_code)
    result.add("code_perplexity", code_perplexity(codes))
    if codes.shape[1] != 1:
        result.not_applicable["category_accuracy"] = f"{codes.shape[1]} discrete variables, none of them the class"
    elif reason := context.missing("classes"):
        result.not_applicable["category_accuracy"] = reason
    else:
        assert context.data.labels is not None
        result.add("category_accuracy", category_accuracy(codes[:, 0].cpu(), context.data.labels))


register(
    Family(
        name="discrete",
        title="Discrete latent variables",
        order=70,
        compute=compute,
        metrics={
            "code_perplexity": Metric(
                "code perplexity", "values in use", None,
                "exponential of the entropy of the values that a discrete latent variable takes on test images, "
                "averaged over variables", 1,
                needs=("discrete_latent",), column=False, also_in={"representation": 5},
            ),
            "category_accuracy": Metric(
                "category accuracy", "fraction", "higher",
                "fraction of test images whose discrete category is their class, under the best one-to-one assignment",
                3,
                needs=("discrete_latent",), column=False, also_in={"representation": 6},
            ),
        },
    )
)  # fmt: skip
