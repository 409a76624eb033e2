"""One step of training: eager, compiled, or captured as a CUDA graph."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from benchmarks.config import TrainingConfig
from benchmarks.data import DatasetConfig
from benchmarks.training.budget import Budget, worth_compiling
from benchmarks.training.optimisers import CAPTURABLE, group_settings
from benchmarks.training.steps.captured import CapturedStep
from benchmarks.training.steps.compiled import CompiledStep
from benchmarks.training.steps.eager import Step
from benchmarks.variables import switch
from variants import Variant

log = logging.getLogger(__name__)


def make_step(
    variant: Variant,
    images: Tensor,
    dataset: DatasetConfig,
    config: TrainingConfig,
    budget: Budget,
    device: torch.device,
    labels: Tensor | None = None,
) -> Step:
    """The step of a budget on this device. Compiled where ``training.compile`` says so. Else captured where
    ``VAE_CAPTURE=1`` asks for it, the images are on a GPU, and the optimisers can be."""
    kind = _kind(variant, images, config, budget, device)
    return kind(variant, images, dataset, config, device, labels)


def _kind(variant: Variant, images: Tensor, config: TrainingConfig, budget: Budget, device: torch.device) -> type[Step]:
    compiled = config.compile == "on"
    if config.compile == "auto":
        # On a GPU it has not been measured.
        parameters = sum(parameter.numel() for parameter in variant.parameters())
        compiled = device.type == "cpu" and worth_compiling(budget, config.batch_size, parameters)
    optimisers = {group_settings(config, group).optimiser for group in variant.parameter_groups().values()}
    wanted = switch("VAE_CAPTURE")
    if wanted and not compiled and images.device.type == "cuda" and optimisers <= set(CAPTURABLE):
        return CapturedStep
    if wanted:
        log.warning(
            "VAE_CAPTURE has no effect: it needs training images on a GPU, one of %s, and steps that are not compiled",
            ", ".join(CAPTURABLE),
        )
    return CompiledStep if compiled else Step
