"""Build a variant by name, without a configuration file."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from .base import Variant
from .options import one_of, unknown
from .parts.networks import NETWORKS, Network
from .parts.observations import observation_model
from .registry import lookup


def build(
    name: str,
    image_shape: tuple[int, int, int],
    network: str | Network = "mlp",
    observation: str = "bernoulli",
    condition_shape: tuple[int, ...] | None = None,
    **options: Any,
) -> Variant:
    """A new variant for images of ``image_shape`` (channels, height, width).

    ``network`` is the name of a network, which then has its default sizes, or a :class:`Network`. ``options`` are
    fields of the variant's ``Config``. ``condition_shape`` is the shape of one image's condition, for conditional
    models. Raises ``ValueError`` for an unknown name or an invalid value.
    """
    cls = lookup(name)
    known = {field.name for field in fields(cls.Config)}
    for option in options:
        one_of(f"option of {name}", option, known)
    if isinstance(network, str):
        if network not in NETWORKS:
            raise unknown("network", network, NETWORKS)
        network = NETWORKS[network]()
    model = observation_model(observation, image_shape, trained=cls.trains_observation)
    return cls(cls.Config(**options), image_shape, network, model, condition_shape)
