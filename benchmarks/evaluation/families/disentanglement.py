"""Whether the dimensions of a code are the factors of variation of the images, where these are known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.records.catalogue import FACTORS, Family, Metric, register
from benchmarks.records.record import DISENTANGLEMENT

if TYPE_CHECKING:
    from benchmarks.evaluation.evaluate import Context, Evaluation

NEEDS = ("factors", "continuous_latent", "no_condition")


def compute(context: Context, result: Evaluation) -> None:
    from benchmarks.evaluation.disentanglement.scores import RESTARTS, codes_of, scores

    assert context.data.factors is not None
    codes = context.of_test(lambda x, condition: codes_of(context.variant, x)).cpu()
    try:
        found = scores(codes, context.data.factors, RESTARTS, seed=0)
    except ValueError as error:
        result.not_applicable |= dict.fromkeys(METRICS, str(error))
        return
    for name, value in found.means.items():
        result.add(name, value)
    result.details[DISENTANGLEMENT] = {
        "factors": list(found.factors), "images": found.images, "dimensions": found.dimensions, "restarts": RESTARTS,
        "spread": found.spreads,
    }  # fmt: skip


def _metric(label: str, meaning: str, wide: bool = False, summary: bool = False) -> Metric:
    return Metric(label, "0 to 1", "higher", meaning, 3, needs=NEEDS, wide=wide, summary=summary)


METRICS = {
    "mig": _metric(
        "MIG",
        "mutual information gap (Chen et al. 2018): what the dimension that knows most of a factor knows more than the "
        "next one, over the factor's entropy, in 20 bins; the mean over factors",
        summary=True,
    ),
    "dci_disentanglement": _metric(
        "DCI disentanglement",
        "whether a dimension matters for one factor alone (Eastwood & Williams 2018): one minus the relative entropy "
        "of its importances in boosted trees that predict each factor from the code",
    ),
    "dci_completeness": _metric(
        "DCI completeness",
        "whether one dimension alone matters for a factor (Eastwood & Williams 2018), by the same importances",
    ),
    "dci_informativeness": _metric(
        "DCI informativeness",
        "how much those trees know of the factors (after Eastwood & Williams 2018): the share of the error of a "
        "constant prediction that is explained on other images",
    ),
    "sap": _metric(
        "SAP",
        "separated attribute predictability (Kumar et al. 2018): how much better the best dimension predicts a factor "
        "than the next best",
    ),
    "beta_vae_score": _metric(
        "beta-VAE score",
        "accuracy of a linear classifier that tells which factor is equal in pairs of images from the mean difference "
        "of their codes (Higgins et al. 2017); chance is one over the number of factors, and a rotated code can score "
        "high",
        wide=True,
    ),
    "factor_vae_score": _metric(
        "FactorVAE score",
        "accuracy of telling which factor is held from the dimension that then varies least, by majority votes (Kim & "
        "Mnih 2018); chance is one over the number of factors",
    ),
    "modularity": _metric(
        "modularity",
        "whether a dimension knows of one factor alone, by mutual information in 20 bins (Ridgeway & Mozer 2018); that "
        "of a code of noise is not small",
        wide=True,
    ),
}

register(
    Family(
        name="disentanglement",
        title="Disentanglement",
        order=58,
        group=FACTORS,
        compute=compute,
        sentence="Scores of posterior means against the known factors of variation. A discrete variable beside them is "
        "one dimension more, and dimensions that do not vary over images are left out. Each score is the mean of five "
        "restarts: random halves of the test images, one to estimate or fit on and one to score. No variant sees a "
        "factor in training. Published scores belong to the data set and the implementation that they are of.",
        headline=("mig",),
        metrics=METRICS,
    )
)
