"""Build a variant by name, without a configuration file."""

from __future__ import annotations

import operator
from collections.abc import Container, Sequence
from dataclasses import fields
from typing import Any

from .base import Variant
from .options import one_of, unknown
from .parts.networks import NETWORKS, Network
from .parts.observations import observation_model
from .registry import lookup


def build(
    name: str,
    image_shape: Sequence[int],
    network: str | Network = "mlp",
    observation: str = "bernoulli",
    condition_shape: Sequence[int] | None = None,
    **options: Any,
) -> Variant:
    """A new variant for images of ``image_shape`` (channels, height, width).

    ``network`` is the name of a network, which then has its default sizes, or a :class:`Network`. ``options`` are
    fields of the variant's ``Config``. ``condition_shape`` is the shape of one image's condition, for conditional
    models. Raises ``ValueError`` for an unknown name, a shape that is not of whole numbers from 1, or an invalid value.
    """
    cls = lookup(name)
    channels, height, width = _sizes("image_shape", image_shape, (3,), "(channels, height, width)")
    condition = condition_shape
    if condition is not None:
        condition = _sizes("condition_shape", condition, range(1, 4), "a shape such as (classes,)")
    known = {field.name for field in fields(cls.Config)}
    for option in options:
        one_of(f"option of {name}", option, known)
    if isinstance(network, str):
        if network not in NETWORKS:
            raise unknown("network", network, NETWORKS)
        network = NETWORKS[network]()
    shape = (channels, height, width)
    model = observation_model(observation, shape, trained=cls.trains_observation)
    return cls(cls.Config(**options), shape, network, model, condition)


def _sizes(name: str, shape: Sequence[int], lengths: Container[int], form: str) -> tuple[int, ...]:
    """``shape`` as a tuple. Raises ``ValueError`` for a number of sizes that is not in ``lengths``, and for sizes
    below 1."""
    try:
        found = tuple(operator.index(size) for size in shape)
    except TypeError:
        found = ()
    if len(found) not in lengths or min(found) < 1:
        raise ValueError(f"{name} must be {form}, whole numbers from 1, got {shape!r}")
    return found
