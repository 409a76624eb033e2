"""Disentanglement: whether the dimensions of a code match the factors of variation, if these are known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.records.catalogue import FACTORS, Family, Metric, register
from benchmarks.records.record import DISENTANGLEMENT

if TYPE_CHECKING:
    from benchmarks.evaluation.evaluate import Context, Evaluation

NEEDS = ("factors", "continuous_latent", "no_condition")


def compute(context: Context, result: Evaluation) -> None:
    from benchmarks.evaluation.disentanglement.scores import RANDOM_SPLITS, codes_of, scores

    assert context.data.factors is not None
    codes = context.of_test(lambda x, condition: codes_of(context.variant, x)).cpu()
    try:
        found = scores(codes, context.data.factors, RANDOM_SPLITS, seed=0)
    except ValueError as error:
        result.not_applicable |= dict.fromkeys(METRICS, str(error))
        return
    for name, value in found.means.items():
        result.add(name, value)
    result.details[DISENTANGLEMENT] = {
        "factors": list(found.factors), "images": found.images, "dimensions": found.dimensions,
        "restarts": RANDOM_SPLITS, "spread": found.spreads,
    }  # fmt: skip


def _metric(label: str, meaning: str, wide: bool = False, summary: bool = False) -> Metric:
    return Metric(label, "0 to 1", "higher", meaning, 3, needs=NEEDS, wide=wide, summary=summary)


METRICS = {
    "mig": _metric(
        "MIG",
        "mutual information gap (Chen et al. 2018): difference of the two largest mutual informations between a factor "
        "and a dimension of the code, in 20 bins, divided by the entropy of the factor; the mean over factors",
        summary=True,
    ),
    "dci_disentanglement": _metric(
        "DCI disentanglement",
        "whether each dimension is important for one factor only (Eastwood & Williams 2018): one minus the "
        "normalised entropy of its importances in boosted trees that predict each factor from the code",
    ),
    "dci_completeness": _metric(
        "DCI completeness",
        "whether only one dimension is important for each factor (Eastwood & Williams 2018), by the same importances",
    ),
    "dci_informativeness": _metric(
        "DCI informativeness",
        "how well those trees predict the factors (after Eastwood & Williams 2018): one minus their error on other "
        "images relative to that of a constant prediction",
    ),
    "sap": _metric(
        "SAP",
        "separated attribute predictability (Kumar et al. 2018): difference between the scores of the two dimensions "
        "that predict a factor best",
    ),
    "beta_vae_score": _metric(
        "beta-VAE score",
        "accuracy of a linear classifier that predicts which factor is equal in pairs of images, from the mean "
        "absolute difference of their codes (Higgins et al. 2017). Chance level is one over the number of factors; "
        "rotated codes can have high scores",
        wide=True,
    ),
    "factor_vae_score": _metric(
        "FactorVAE score",
        "accuracy of a majority-vote classifier that predicts which factor is fixed from the dimension that varies "
        "least (Kim & Mnih 2018). Chance level is one over the number of factors",
    ),
    "modularity": _metric(
        "modularity",
        "whether each dimension has mutual information with one factor only (Ridgeway & Mozer 2018), in 20 bins; it is "
        "not small for codes of pure noise",
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
        sentence="The scores compare posterior means (and discrete latent variables, one dimension each) with the "
        "known factors. Dimensions whose variance over images is at most 0.01, or 1% of the largest if that is less, "
        "are left out. Each score is the mean over five random splits of the test images into a half for fitting and a "
        "half for scoring. Variants do not see the factors in training. Scores can only be compared with "
        "published ones for the same data set and implementation.",
        headline=("mig",),
        metrics=METRICS,
    )
)
