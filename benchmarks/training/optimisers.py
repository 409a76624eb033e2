"""The optimisers that a configuration can name."""

from __future__ import annotations

from typing import Any

import torch
from torch.optim import Optimizer

from benchmarks.config import TrainingConfig

OPTIMISERS: dict[str, type[Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "adamax": torch.optim.Adamax,
    "sgd": torch.optim.SGD,
}


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
