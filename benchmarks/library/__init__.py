"""The suite as a library: train, load, evaluate and use models from Python, without the command line.

The names are also available in ``benchmarks`` itself: ``from benchmarks import fit, load_run, evaluate``.
"""

from .factors import Disentanglement, disentanglement, load_factors
from .fitting import fit
from .images import load_images
from .latent import (
    LatentMap,
    MixtureSampler,
    decode,
    encode,
    fit_mixture,
    image_grid,
    interpolate,
    latent_map,
    reconstruct,
    represent,
    sample,
)
from .measuring import Evaluation, Evaluator, evaluate, likelihoods, sample_quality
from .runs import Run, load_run, save
from .tasks import auroc, compression, corrupt, denoise, denoising_gain, few_label_accuracy, outlier_scores

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
