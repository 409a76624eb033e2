"""The optimisers that a configuration can name."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import torch
from torch.optim import Optimizer

from benchmarks.config import OPTIMISERS as OPTIONS
from benchmarks.config import TrainingConfig
from variants import ParameterGroup
from variants.options import one_of

OPTIMISERS: dict[str, type[Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "adamax": torch.optim.Adamax,
    "rmsprop": torch.optim.RMSprop,
    "adagrad": torch.optim.Adagrad,
    "adadelta": torch.optim.Adadelta,
    "sgd": torch.optim.SGD,
}
# Optimisers that can be captured in a CUDA graph.
CAPTURABLE = ("adam", "adamw", "adamax", "rmsprop")
# The suite's name of an option that not every optimiser has -> torch's name. beta1 and beta2 are not listed, because
# torch takes both as one option.
_NAMES = {"epsilon": "eps", "smoothing": "alpha", "centred": "centered", "momentum": "momentum"}

# Options that a group of parameters can set.
GROUP_OPTIONS = ("optimiser", "learning_rate", "weight_decay", "gradient_clip", "beta1", "beta2", *_NAMES)


def group_settings(config: TrainingConfig, group: ParameterGroup) -> TrainingConfig:
    """The configuration with the settings of ``group`` in place of its own. Options that the group's optimiser does not
    have are reset to their defaults. Raises ``ValueError`` for an option that a group cannot set and for an invalid
    value."""
    for option in group.optimiser:
        one_of("optimiser setting of a parameter group", option, GROUP_OPTIONS)
    own = OPTIONS.get(group.optimiser.get("optimiser", config.optimiser), ())
    left_out: dict[str, Any] = {
        option.name: option.default
        for option in fields(config)
        if option.name in ("beta1", "beta2", *_NAMES) and option.name not in own
    }
    return replace(config, **left_out | group.optimiser)


def make_optimiser(config: TrainingConfig, parameters: list[torch.nn.Parameter], captured: bool = False) -> Optimizer:
    """Make the configured optimiser; "adam", "adamw" and "sgd" use PyTorch's fused implementation. With ``captured``,
    the step count and the learning rate are kept on the device."""
    own = OPTIONS[config.optimiser]
    options: dict[str, Any] = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
    options |= {_NAMES[name]: getattr(config, name) for name in own if name in _NAMES}
    if config.optimiser == "adadelta":
        options["rho"] = options.pop("alpha")
    if "beta1" in own:
        options["betas"] = (config.beta1, config.beta2)
    if config.optimiser in ("adam", "adamw", "sgd"):
        options["fused"] = True
    if captured:
        options |= {"lr": torch.tensor(config.learning_rate, device=parameters[0].device), "capturable": True}
    return OPTIMISERS[config.optimiser](parameters, **options)
