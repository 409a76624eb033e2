"""The benchmark suite. Its library calls are names of this package:

>>> from benchmarks import evaluate, fit, load_run
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .library import (
        Disentanglement,
        Evaluation,
        Evaluator,
        LatentMap,
        MixtureSampler,
        Run,
        auroc,
        compression,
        corrupt,
        decode,
        denoise,
        denoising_gain,
        disentanglement,
        encode,
        evaluate,
        few_label_accuracy,
        fit,
        fit_mixture,
        image_grid,
        interpolate,
        latent_map,
        likelihoods,
        load_factors,
        load_images,
        load_run,
        outlier_scores,
        reconstruct,
        represent,
        sample,
        sample_quality,
        save,
    )

# Those of benchmarks.library, which a test holds this list to.
__all__ = [
    "Disentanglement",
    "Evaluation",
    "Evaluator",
    "LatentMap",
    "MixtureSampler",
    "Run",
    "auroc",
    "compression",
    "corrupt",
    "decode",
    "denoise",
    "denoising_gain",
    "disentanglement",
    "encode",
    "evaluate",
    "few_label_accuracy",
    "fit",
    "fit_mixture",
    "image_grid",
    "interpolate",
    "latent_map",
    "likelihoods",
    "load_factors",
    "load_images",
    "load_run",
    "outlier_scores",
    "reconstruct",
    "represent",
    "sample",
    "sample_quality",
    "save",
]


def __getattr__(name: str) -> Any:
    # Late, because it imports torch, and reports do without.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(".library", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
