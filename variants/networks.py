"""Encoder and decoder bodies, chosen by configuration and shared by all variants.

A network is a typed configuration that knows how to make its two bodies; a variant asks it for an encoder with so many
outputs and a decoder with so many inputs and names no layer itself.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from itertools import pairwise

from torch import Tensor, nn

from .options import one_of, positive

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "softplus": nn.Softplus,
    "silu": nn.SiLU,
    "elu": nn.ELU,
    "leaky_relu": nn.LeakyReLU,
}
INITIALISATIONS = ("torch", "xavier")


@dataclass
class Network(ABC):
    """What every network's configuration has. Raises ``ValueError`` for sizes below one."""

    latent_size: int = 32

    def __post_init__(self) -> None:
        positive("network.latent_size", self.latent_size)

    @abstractmethod
    def encoder(self, image_shape: tuple[int, int, int], outputs: int) -> nn.Module:
        """A body from (batch, channels, height, width) to (batch, outputs)."""

    @abstractmethod
    def decoder(self, inputs: int, image_shape: tuple[int, int, int]) -> nn.Module:
        """A body from (batch, inputs) to (batch, channels, height, width)."""

    def grid(self, image_shape: tuple[int, int, int]) -> tuple[int, int]:
        """Height and width of the grid of codes that this network makes for a vector-quantised model."""
        raise ValueError(f"network {type(self).__name__.lower()} has no grid of codes")

    def grid_encoder(self, image_shape: tuple[int, int, int], channels: int) -> nn.Module:
        """A body from (batch, channels, height, width) to (batch, channels, *grid). Without a spatial structure of its
        own, a network cuts one vector of outputs into positions."""
        height, width = self.grid(image_shape)
        vector = self.encoder(image_shape, channels * height * width)
        return nn.Sequential(vector, nn.Unflatten(-1, (channels, height, width)))

    def grid_decoder(self, channels: int, image_shape: tuple[int, int, int]) -> nn.Module:
        """The way back, from (batch, channels, *grid) to images."""
        height, width = self.grid(image_shape)
        return nn.Sequential(nn.Flatten(), self.decoder(channels * height * width, image_shape))


@dataclass
class Linear(Network):
    """One affine map each way: with a Gaussian observation, probabilistic PCA, whose log p(x) is known."""

    def encoder(self, image_shape: tuple[int, int, int], outputs: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(image_shape), outputs))

    def decoder(self, inputs: int, image_shape: tuple[int, int, int]) -> nn.Module:
        return nn.Sequential(nn.Linear(inputs, math.prod(image_shape)), nn.Unflatten(-1, image_shape))


@dataclass
class MLP(Network):
    """Fully connected layers of the widths ``hidden`` (the decoder's in reverse order)."""

    hidden: list[int] = field(default_factory=lambda: [400, 400])
    activation: str = "silu"
    # "torch": its own default; "xavier": Glorot uniform weights and zero biases (Burda et al. 2016, section 5).
    initialisation: str = "xavier"
    # Height and width of the grid of codes, for vector-quantised models.
    grid_size: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("network.grid_size", self.grid_size)
        for width in self.hidden:
            positive("network.hidden", width)
        one_of("network.activation", self.activation, ACTIVATIONS)
        one_of("network.initialisation", self.initialisation, INITIALISATIONS)

    def encoder(self, image_shape: tuple[int, int, int], outputs: int) -> nn.Module:
        body = self._layers([math.prod(image_shape), *self.hidden, outputs])
        return nn.Sequential(nn.Flatten(), *body)

    def decoder(self, inputs: int, image_shape: tuple[int, int, int]) -> nn.Module:
        body = self._layers([inputs, *reversed(self.hidden), math.prod(image_shape)])
        return nn.Sequential(*body, nn.Unflatten(-1, image_shape))

    def grid(self, image_shape: tuple[int, int, int]) -> tuple[int, int]:
        return self.grid_size, self.grid_size

    def _layers(self, widths: list[int]) -> list[nn.Module]:
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            linear = nn.Linear(before, after)
            if self.initialisation == "xavier":
                nn.init.xavier_uniform_(linear.weight)
                nn.init.zeros_(linear.bias)
            layers += [linear, ACTIVATIONS[self.activation]()]
        return layers[:-1]


NETWORKS: dict[str, type[Network]] = {"linear": Linear, "mlp": MLP}


def batched(body: nn.Module, z: Tensor, event_dimensions: int = 1) -> Tensor:
    """Apply ``body``, which takes one batch dimension, to ``z`` (*leading, *event)."""
    leading = z.shape[: z.dim() - event_dimensions]
    output = body(z.reshape(-1, *z.shape[len(leading) :]))
    return output.reshape(*leading, *output.shape[1:])
