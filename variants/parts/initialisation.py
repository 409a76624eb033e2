"""Initialisation of a network's weights, chosen by an option of the configuration."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from torch import Tensor, nn

from ..options import unknown

# Name -> the function that draws the weights; biases are set to 0. "torch" keeps torch's own draws, biases included.
INITIALISATIONS: dict[str, Callable[[Tensor], object] | None] = {
    "torch": None,
    # Glorot & Bengio 2010: +-sqrt(6 / (fan_in + fan_out)), or a normal of variance 2 / (fan_in + fan_out).
    "xavier": nn.init.xavier_uniform_,
    "xavier_normal": nn.init.xavier_normal_,
    # He et al. 2015: +-sqrt(6 / fan_in), or a normal of variance 2 / fan_in, whatever the activation.
    "he_uniform": lambda weight: nn.init.kaiming_uniform_(weight, nonlinearity="relu"),
    "he_normal": lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"),
    # +-sqrt(1 / fan_in), the rule by which torch draws weights.
    "fan_in": lambda weight: nn.init.kaiming_uniform_(weight, a=math.sqrt(5)),
}
UNIFORM = "uniform LOW HIGH"
LAYERS_WITH_WEIGHTS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)


def check_initialisation(where: str, line: str) -> None:
    """Raise ``ValueError`` unless ``line`` is a name in :data:`INITIALISATIONS` or "uniform LOW HIGH"."""
    _drawn_by(where, line)


def initialise(module: nn.Module, line: str) -> None:
    """Draw the weights of all linear layers and convolutions in ``module``, in their order, and set biases to 0.
    "torch" changes nothing."""
    draw = _drawn_by("initialisation", line)
    if draw is None:
        return
    for layer in module.modules():
        if isinstance(layer, LAYERS_WITH_WEIGHTS):
            draw(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def check_uniform(where: str, line: str, others: Iterable[str] = ()) -> None:
    """Raise ``ValueError`` unless ``line`` is "uniform LOW HIGH". ``others`` are further values that the caller allows;
    the error lists them."""
    if line.split()[:1] != ["uniform"]:
        raise unknown(where, line, [*others, UNIFORM])
    _limits(where, line)


def initialise_uniform(tensor: Tensor, line: str) -> None:
    """Fill ``tensor`` in place with draws from the distribution of ``line``, "uniform LOW HIGH"."""
    nn.init.uniform_(tensor, *_limits("initialisation", line))


def _drawn_by(where: str, line: str) -> Callable[[Tensor], object] | None:
    if line in INITIALISATIONS:
        return INITIALISATIONS[line]
    check_uniform(where, line, INITIALISATIONS)
    return lambda weight: initialise_uniform(weight, line)


def _limits(where: str, line: str) -> tuple[float, float]:
    try:
        low, high = (float(end) for end in line.split()[1:])
    except ValueError:
        low = high = math.nan
    if not (low < high and math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"{where} must be written {UNIFORM!r} with LOW below HIGH, got {line!r}")
    return low, high
