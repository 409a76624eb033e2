"""The benchmark suite. The functions and classes of its library can be imported from this package:

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

# The same names as in benchmarks.library; a test compares the two lists.
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
    # Imported on first use, because it imports torch, which reports do not need.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(".library", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
