"""The optimisers that a configuration can name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch.optim import Optimizer

from benchmarks.config import TrainingConfig
from variants import ParameterGroup
from variants.options import one_of

OPTIMISERS: dict[str, type[Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "adamax": torch.optim.Adamax,
    "sgd": torch.optim.SGD,
}


# What a group of parameters may set for itself.
GROUP_OPTIONS = ("optimiser", "learning_rate", "beta1", "beta2", "epsilon", "weight_decay", "gradient_clip")


def group_settings(config: TrainingConfig, group: ParameterGroup) -> TrainingConfig:
    """The configuration with the settings that ``group`` has of its own. Raises ``ValueError`` for one that a group
    cannot set, or an impossible value."""
    for option in group.optimiser:
        one_of("optimiser setting of a parameter group", option, GROUP_OPTIONS)
    return replace(config, **group.optimiser)


def make_optimiser(config: TrainingConfig, parameters: list[torch.nn.Parameter], captured: bool = False) -> Optimizer:
    """The configured optimiser; one fused kernel a step where the device has it. A ``captured`` one keeps its step
    count and learning rate on the device."""
    options: dict[str, Any] = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
    if config.optimiser != "sgd":
        options |= {"betas": (config.beta1, config.beta2), "eps": config.epsilon}
    if config.optimiser != "adamax":
        options["fused"] = True
    if captured:
        options |= {"lr": torch.tensor(config.learning_rate, device=parameters[0].device), "capturable": True}
    return OPTIMISERS[config.optimiser](parameters, **options)
