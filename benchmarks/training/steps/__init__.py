"""One training step: eager, compiled, or captured as a CUDA graph."""

from __future__ import annotations

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


def make_step(
    variant: Variant,
    images: Tensor,
    dataset: DatasetConfig,
    config: TrainingConfig,
    budget: Budget,
    device: torch.device,
    labels: Tensor | None = None,
) -> Step:
    """Make the training step for a budget and a device. It is compiled if ``training.compile`` asks for it. Otherwise
    it is captured if the images are on a GPU and all optimisers support it, unless ``VAE_CAPTURE=0`` is set."""
    kind = kind_of_step(variant, images, config, budget, device)
    return kind(variant, images, dataset, config, device, labels)


def kind_of_step(
    variant: Variant, images: Tensor, config: TrainingConfig, budget: Budget, device: torch.device
) -> type[Step]:
    """The class of the step that :func:`make_step` makes."""
    compiled = config.compile == "on"
    if config.compile == "auto":
        # "auto" never compiles on a GPU, where the gain has not been measured.
        parameters = sum(parameter.numel() for parameter in variant.parameters())
        compiled = device.type == "cpu" and worth_compiling(budget, config.batch_size, parameters)
    if compiled:
        return CompiledStep
    optimisers = {group_settings(config, group).optimiser for group in variant.parameter_groups().values()}
    possible = images.device.type == "cuda" and optimisers <= set(CAPTURABLE)
    return CapturedStep if possible and switch("VAE_CAPTURE", default=True) else Step
