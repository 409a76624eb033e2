"""Encoder and decoder bodies, chosen by configuration and shared by all variants.

A network is a typed configuration that knows how to make its two bodies; a variant asks it for an encoder with so many
outputs and a decoder with so many inputs and names no layer itself.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar

from torch import Tensor, nn

from ..options import not_negative, one_of, positive

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "softplus": nn.Softplus,
    "silu": nn.SiLU,
    "elu": nn.ELU,
    "leaky_relu": nn.LeakyReLU,
}
INITIALISATIONS = ("torch", "xavier")
# Channels -> the layers to put in. Groups of 8 channels, or one group where they do not divide so.
NORMALISATIONS: dict[str, Callable[[int], list[nn.Module]]] = {
    "none": lambda channels: [],
    "batch": lambda channels: [nn.BatchNorm2d(channels)],
    "group": lambda channels: [nn.GroupNorm(channels // 8 if channels % 8 == 0 else 1, channels)],
}


@dataclass
class Network(ABC):
    """What every network's configuration has. Raises ``ValueError`` for sizes below one."""

    latent_size: int = 32
    # Whether both bodies are affine maps.
    affine: ClassVar[bool] = False

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

    affine: ClassVar[bool] = True

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


@dataclass
class Conv(Network):
    """Convolutions that halve the image stage by stage, and transposed ones that double it (as in DCGAN, and in
    Tolstikhin et al. 2018, appendix F); one linear layer between the last map and the latent vector.

    Stage i has ``width`` * 2^i channels. ``stages`` None halves until a side is odd or no more than 4: two stages for
    28x28 (7x7 maps at the end), four for 64x64 (4x4). ``residual`` blocks follow each stage. A grid of codes is what
    ``grid_stages`` stages leave of the image (all stages, if there are fewer).
    """

    width: int = 32
    stages: int | None = None
    residual: int = 0
    activation: str = "silu"
    # Batch normalisation, as in the networks above, learns faster than none by far within a short budget.
    normalisation: str = "batch"
    grid_stages: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("network.width", self.width)
        if self.stages is not None:
            positive("network.stages", self.stages)
        not_negative("network.residual", self.residual)
        one_of("network.activation", self.activation, ACTIVATIONS)
        one_of("network.normalisation", self.normalisation, NORMALISATIONS)
        positive("network.grid_stages", self.grid_stages)

    def encoder(self, image_shape: tuple[int, int, int], outputs: int) -> nn.Module:
        stages = self._stages(image_shape)
        maps = self._map_shape(image_shape, stages)
        return nn.Sequential(self._down(image_shape[0], stages), nn.Flatten(), nn.Linear(math.prod(maps), outputs))

    def decoder(self, inputs: int, image_shape: tuple[int, int, int]) -> nn.Module:
        stages = self._stages(image_shape)
        maps = self._map_shape(image_shape, stages)
        first = [nn.Linear(inputs, math.prod(maps)), nn.Unflatten(-1, maps), self._activation()]
        return nn.Sequential(*first, self._up(image_shape[0], stages))

    def grid(self, image_shape: tuple[int, int, int]) -> tuple[int, int]:
        _, height, width = self._map_shape(image_shape, min(self.grid_stages, self._stages(image_shape)))
        return height, width

    def grid_encoder(self, image_shape: tuple[int, int, int], channels: int) -> nn.Module:
        stages = min(self.grid_stages, self._stages(image_shape))
        top = self._channels(stages - 1)
        return nn.Sequential(self._down(image_shape[0], stages), nn.Conv2d(top, channels, kernel_size=1))

    def grid_decoder(self, channels: int, image_shape: tuple[int, int, int]) -> nn.Module:
        stages = min(self.grid_stages, self._stages(image_shape))
        first = nn.Conv2d(channels, self._channels(stages - 1), kernel_size=3, padding=1)
        return nn.Sequential(first, self._activation(), self._up(image_shape[0], stages))

    def _stages(self, image_shape: tuple[int, int, int]) -> int:
        """How often the image is halved. Raises ``ValueError`` for a size that cannot be."""
        _, height, width = image_shape
        halvings = 0
        while height % 2 == width % 2 == 0 and min(height, width) > 4:
            height, width, halvings = height // 2, width // 2, halvings + 1
        if halvings < (self.stages or 1):
            raise ValueError(
                f"network conv with {self.stages or 1} stages cannot take images of {image_shape[1]}x{image_shape[2]}, "
                f"which halve {halvings} times (to sides of 3 or more); choose fewer stages, another size, or the mlp"
            )
        return self.stages or halvings

    def _channels(self, stage: int) -> int:
        return self.width * 2**stage

    def _map_shape(self, image_shape: tuple[int, int, int], stages: int) -> tuple[int, int, int]:
        return self._channels(stages - 1), image_shape[1] // 2**stages, image_shape[2] // 2**stages

    def _down(self, channels: int, stages: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for stage in range(stages):
            before, after = channels if stage == 0 else self._channels(stage - 1), self._channels(stage)
            layers += [nn.Conv2d(before, after, kernel_size=4, stride=2, padding=1), *self._after(after)]
        return nn.Sequential(*layers)

    def _up(self, channels: int, stages: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for stage in reversed(range(stages)):
            before, after = self._channels(stage), channels if stage == 0 else self._channels(stage - 1)
            layers.append(nn.ConvTranspose2d(before, after, kernel_size=4, stride=2, padding=1))
            # The last layer's output is what the observation model reads: nothing follows it.
            layers += self._after(after) if stage > 0 else []
        return nn.Sequential(*layers)

    def _after(self, channels: int) -> list[nn.Module]:
        """What follows a convolution of ``channels`` maps: normalisation, activation, residual blocks."""
        blocks = [ResidualBlock(channels, self._activation, self.normalisation) for _ in range(self.residual)]
        return [*NORMALISATIONS[self.normalisation](channels), self._activation(), *blocks]

    def _activation(self) -> nn.Module:
        return ACTIVATIONS[self.activation]()


class ResidualBlock(nn.Module):
    """x + conv1x1(act(norm(conv3x3(act(x))))), as in van den Oord et al. (2017), section 4.1."""

    def __init__(self, channels: int, activation: Callable[[], nn.Module], normalisation: str) -> None:
        super().__init__()
        self.body = nn.Sequential(
            activation(),
            nn.Conv2d(channels, channels, kernel_size=3, padding=1),
            *NORMALISATIONS[normalisation](channels),
            activation(),
            nn.Conv2d(channels, channels, kernel_size=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


NETWORKS: dict[str, type[Network]] = {"linear": Linear, "mlp": MLP, "conv": Conv}


def batched(body: nn.Module, z: Tensor, event_dimensions: int = 1) -> Tensor:
    """Apply ``body``, which takes one batch dimension, to ``z`` (*leading, *event)."""
    leading = z.shape[: z.dim() - event_dimensions]
    output = body(z.reshape(-1, *z.shape[len(leading) :]))
    return output.reshape(*leading, *output.shape[1:])
