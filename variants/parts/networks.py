"""Encoder and decoder networks, chosen by the configuration and shared by all variants.

A :class:`Network` is a typed configuration that creates encoders and decoders. A variant asks it for an encoder with a
number of outputs and a decoder with a number of inputs, and does not define layers itself.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..options import added, not_negative, one_of, positive
from .initialisation import LAYERS_WITH_WEIGHTS, check_initialisation, initialise
from .layers import Shape, activation, build_layers, check_activation, read_layers

# Name -> (slope, offset): encoders get slope x + offset as input, for pixels x in [0, 1].
INPUTS: dict[str, tuple[float, float]] = {"unit": (1.0, 0.0), "signed": (2.0, -1.0), "centred": (1.0, -0.5)}
BATCH_NORMALISATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
# Name -> the normalisation layers for a number of channels. Groups have 8 channels; if 8 does not divide the channels,
# there is one group.
NORMALISATIONS: dict[str, Callable[[int], list[nn.Module]]] = {
    "none": lambda channels: [],
    "batch": lambda channels: [nn.BatchNorm2d(channels)],
    "group": lambda channels: [nn.GroupNorm(channels // 8 if channels % 8 == 0 else 1, channels)],
}


class Rescale(nn.Module):
    """slope x + offset."""

    def __init__(self, slope: float, offset: float) -> None:
        super().__init__()
        self.slope, self.offset = slope, offset

    def forward(self, x: Tensor) -> Tensor:
        return self.slope * x + self.offset


@dataclass
class Network(ABC):
    """The base class of network configurations.

    ``latent_size`` is the number of latent dimensions. ``inputs`` is the input of encoders for pixels x in [0, 1]:
    "unit" x, "signed" 2 x - 1, "centred" x - 0.5. Losses and likelihoods always use x. Raises ``ValueError`` for sizes
    below one.
    """

    latent_size: int = 32
    inputs: str = added("unit")
    # Whether the encoder and the decoder are affine maps.
    affine: ClassVar[bool] = False

    def __post_init__(self) -> None:
        positive("network.latent_size", self.latent_size)
        one_of("network.inputs", self.inputs, INPUTS)

    def check_images(self, image_shape: tuple[int, int, int]) -> None:  # noqa: B027 - most take all
        """Raise ``ValueError`` for images that the network does not support, as far as this is known without a
        variant."""

    def rescaled(self) -> list[nn.Module]:
        """The first modules of an encoder, which apply ``inputs``."""
        return [] if self.inputs == "unit" else [Rescale(*INPUTS[self.inputs])]

    @abstractmethod
    def encoder(self, image_shape: tuple[int, int, int], outputs: int) -> nn.Module:
        """A module that maps (batch, channels, height, width) to (batch, outputs)."""

    @abstractmethod
    def decoder(self, inputs: int, image_shape: tuple[int, int, int]) -> nn.Module:
        """A module that maps (batch, inputs) to (batch, channels, height, width)."""

    def grid(self, image_shape: tuple[int, int, int]) -> tuple[int, int]:
        """Height and width of this network's grid of codes, for a vector-quantised model."""
        raise ValueError(f"network {type(self).__name__.lower()} has no grid of codes")

    def grid_encoder(self, image_shape: tuple[int, int, int], channels: int) -> nn.Module:
        """A module that maps (batch, channels, height, width) to (batch, channels, *grid). By default it reshapes one
        output vector into the grid; networks with a spatial structure override it."""
        height, width = self.grid(image_shape)
        vector = self.encoder(image_shape, channels * height * width)
        return nn.Sequential(vector, nn.Unflatten(-1, (channels, height, width)))

    def grid_decoder(self, channels: int, image_shape: tuple[int, int, int]) -> nn.Module:
        """A module that maps (batch, channels, *grid) to images."""
        height, width = self.grid(image_shape)
        return nn.Sequential(nn.Flatten(), self.decoder(channels * height * width, image_shape))


@dataclass
class Linear(Network):
    """An affine encoder and an affine decoder. With a Gaussian observation model and linear outputs, the VAE is
    probabilistic PCA, whose log p(x) is known."""

    affine: ClassVar[bool] = True

    def encoder(self, image_shape: tuple[int, int, int], outputs: int) -> nn.Module:
        return nn.Sequential(*self.rescaled(), nn.Flatten(), nn.Linear(math.prod(image_shape), outputs))

    def decoder(self, inputs: int, image_shape: tuple[int, int, int]) -> nn.Module:
        return nn.Sequential(nn.Linear(inputs, math.prod(image_shape)), nn.Unflatten(-1, image_shape))


@dataclass
class MLP(Network):
    """Fully connected layers with the widths ``hidden``. The decoder has these widths in reverse order, or the widths
    ``decoder_hidden``, in the order from z to the image.

    ``initialisation`` is "torch" (the default of torch), "xavier" (Glorot uniform: Burda et al. 2016, section 5),
    "xavier_normal", "he_uniform", "he_normal", "fan_in" (+-sqrt(1 / fan_in)) or "uniform LOW HIGH". All but "torch"
    set biases to zero. ``decoder_initialisation``, if set, replaces it in the decoder. With ``bias`` False the layers
    have no biases.
    """

    hidden: list[int] = field(default_factory=lambda: [400, 400])
    activation: str = "silu"
    initialisation: str = "xavier"
    # Height and width of the grid of codes, for vector-quantised models.
    grid_size: int = 4
    decoder_hidden: list[int] | None = added(None)
    decoder_initialisation: str | None = added(None)
    bias: bool = added(True)

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("network.grid_size", self.grid_size)
        for width in self.hidden:
            positive("network.hidden", width)
        for width in self.decoder_hidden or []:
            positive("network.decoder_hidden", width)
        check_activation("network.activation", self.activation)
        check_initialisation("network.initialisation", self.initialisation)
        if self.decoder_initialisation is not None:
            check_initialisation("network.decoder_initialisation", self.decoder_initialisation)

    def encoder(self, image_shape: tuple[int, int, int], outputs: int) -> nn.Module:
        body = self._layers([math.prod(image_shape), *self.hidden, outputs], self.initialisation)
        return nn.Sequential(*self.rescaled(), nn.Flatten(), *body)

    def decoder(self, inputs: int, image_shape: tuple[int, int, int]) -> nn.Module:
        hidden = self.hidden[::-1] if self.decoder_hidden is None else self.decoder_hidden
        initialisation = self.decoder_initialisation or self.initialisation
        body = self._layers([inputs, *hidden, math.prod(image_shape)], initialisation)
        return nn.Sequential(*body, nn.Unflatten(-1, image_shape))

    def grid(self, image_shape: tuple[int, int, int]) -> tuple[int, int]:
        return self.grid_size, self.grid_size

    def _layers(self, widths: list[int], initialisation: str) -> list[nn.Module]:
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            linear = nn.Linear(before, after, bias=self.bias)
            initialise(linear, initialisation)
            layers += [linear, activation(self.activation)]
        return layers[:-1]


@dataclass
class Conv(Network):
    """Convolutions that halve the image at each stage, and transposed convolutions that double it (as in DCGAN, and in
    Tolstikhin et al. 2018, appendix F). One linear layer connects the last feature maps and the latent vector.

    Stage i has ``width`` * 2^i channels. With ``stages`` None, the image is halved until a side is odd or at most 4:
    two stages for 28x28 (7x7 maps at the end), four for 64x64 (4x4). ``residual`` is the number of residual blocks
    at the end of each stage; the decoder's last stage has none. The grid of codes has the size of the image after
    ``grid_stages`` stages (or after all stages, if there are fewer).
    """

    width: int = 32
    stages: int | None = None
    residual: int = 0
    activation: str = "silu"
    # Batch normalisation, as in the networks cited above, learns much faster than none within a short budget.
    normalisation: str = "batch"
    grid_stages: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("network.width", self.width)
        if self.stages is not None:
            positive("network.stages", self.stages)
        not_negative("network.residual", self.residual)
        check_activation("network.activation", self.activation)
        one_of("network.normalisation", self.normalisation, NORMALISATIONS)
        positive("network.grid_stages", self.grid_stages)

    def encoder(self, image_shape: tuple[int, int, int], outputs: int) -> nn.Module:
        stages = self._stages(image_shape)
        maps = self._map_shape(image_shape, stages)
        body = [self._down(image_shape[0], stages), nn.Flatten(), nn.Linear(math.prod(maps), outputs)]
        return nn.Sequential(*self.rescaled(), *body)

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
        body = [self._down(image_shape[0], stages), nn.Conv2d(top, channels, kernel_size=1)]
        return nn.Sequential(*self.rescaled(), *body)

    def grid_decoder(self, channels: int, image_shape: tuple[int, int, int]) -> nn.Module:
        stages = min(self.grid_stages, self._stages(image_shape))
        first = nn.Conv2d(channels, self._channels(stages - 1), kernel_size=3, padding=1)
        return nn.Sequential(first, self._activation(), self._up(image_shape[0], stages))

    def _stages(self, image_shape: tuple[int, int, int]) -> int:
        """The number of stages. Raises ``ValueError`` if images of this size cannot be halved so often."""
        _, height, width = image_shape
        halvings = 0
        while height % 2 == width % 2 == 0 and min(height, width) > 4:
            height, width, halvings = height // 2, width // 2, halvings + 1
        if halvings < (self.stages or 1):
            raise ValueError(
                f"network conv with {self.stages or 1} stages cannot take images of {image_shape[1]}x{image_shape[2]}, "
                f"which can be halved {halvings} times (to sides of 3 or more); choose fewer stages, another size, or "
                "the mlp"
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
            # The last layer's output is the input of the observation model: nothing follows it.
            layers += self._after(after) if stage > 0 else []
        return nn.Sequential(*layers)

    def _after(self, channels: int) -> list[nn.Module]:
        """The modules after a convolution with ``channels`` outputs: normalisation, activation, residual blocks."""
        blocks = [ResidualBlock(channels, self._activation, self.normalisation) for _ in range(self.residual)]
        return [*NORMALISATIONS[self.normalisation](channels), self._activation(), *blocks]

    def _activation(self) -> nn.Module:
        return activation(self.activation)


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


@dataclass
class Layers(Network):
    """A network given layer by layer, one line per layer, such as the architecture of a paper; see :mod:`.layers`.

    If no line of the encoder names ``outputs`` and its last line is not ``flatten``, a linear layer with the needed
    outputs is added. If the decoder's lines end in a vector and none of them names ``pixels``, a linear layer with the
    image's pixels is added. For a vector-quantised model, the grid of codes is the feature maps in which the encoder's
    lines end; if no line names ``outputs``, ``conv outputs 1`` is added. Initialisations are as in ``mlp``.
    ``encoder_last_initialisation``, if set, replaces that of the encoder's last layer with weights.
    """

    encoder_layers: list[str] = field(default_factory=lambda: ["linear 400 relu"])
    decoder_layers: list[str] = field(default_factory=lambda: ["linear 400 relu"])
    initialisation: str = "torch"
    decoder_initialisation: str | None = None
    encoder_last_initialisation: str | None = added(None)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_initialisation("network.initialisation", self.initialisation)
        if self.decoder_initialisation is not None:
            check_initialisation("network.decoder_initialisation", self.decoder_initialisation)
        if self.encoder_last_initialisation is not None:
            check_initialisation("network.encoder_last_initialisation", self.encoder_last_initialisation)
        self._encoder = read_layers("network.encoder_layers", self.encoder_layers, ("outputs",))
        self._decoder = read_layers("network.decoder_layers", self.decoder_layers, ("channels", "pixels"))

    def check_images(self, image_shape: tuple[int, int, int]) -> None:
        start: Shape = (self.latent_size,)
        first = self._decoder[0] if self._decoder else None
        # On the meta device no weights are drawn, so the state of the random number generators does not change.
        with torch.device("meta"):
            _, code = self._encode(image_shape, self.latent_size)
            if first is not None and first.kind == "reshape":
                start = (math.prod(int(size) for size in first.arguments.values()),)
            elif first is not None and first.kind in ("conv", "transposed", "maxpool", "upsample") and len(code) == 3:
                start = (self.latent_size, *code[1:])
            self._decode(start, image_shape)

    def encoder(self, image_shape: tuple[int, int, int], outputs: int) -> nn.Module:
        modules, shape = self._encode(image_shape, outputs)
        if not self._names_outputs and not (self._encoder and self._encoder[-1].kind == "flatten"):
            modules += [nn.Flatten()] * (len(shape) == 3) + [nn.Linear(math.prod(shape), outputs)]
        elif math.prod(shape) != outputs:
            raise ValueError(f"network.encoder_layers end in {math.prod(shape)} numbers, but {outputs} are needed")
        elif len(shape) == 3:
            modules.append(nn.Flatten())
        return self._initialised_encoder(modules)

    def decoder(self, inputs: int, image_shape: tuple[int, int, int]) -> nn.Module:
        return self._decode((inputs,), image_shape)

    def grid(self, image_shape: tuple[int, int, int]) -> tuple[int, int]:
        _, shape = self._encode(image_shape, 1)
        if len(shape) != 3:
            raise ValueError("network layers has no grid of codes: network.encoder_layers end in a vector")
        return shape[1], shape[2]

    def grid_encoder(self, image_shape: tuple[int, int, int], channels: int) -> nn.Module:
        modules, shape = self._encode(image_shape, channels)
        if not self._names_outputs:
            modules.append(nn.Conv2d(shape[0], channels, kernel_size=1))
        elif shape[0] != channels:
            raise ValueError(f"network.encoder_layers end in {shape[0]} channels, but {channels} are needed")
        return self._initialised_encoder(modules)

    def grid_decoder(self, channels: int, image_shape: tuple[int, int, int]) -> nn.Module:
        return self._decode((channels, *self.grid(image_shape)), image_shape)

    @property
    def _names_outputs(self) -> bool:
        return any("outputs" in layer.arguments.values() for layer in self._encoder)

    def _encode(self, image_shape: tuple[int, int, int], outputs: int) -> tuple[list[nn.Module], Shape]:
        """The modules of the encoder's lines, and the shape of their output."""
        return build_layers(self._encoder, image_shape, {"outputs": outputs})

    def _decode(self, start: Shape, image_shape: tuple[int, int, int]) -> nn.Module:
        pixels = math.prod(image_shape)
        modules, shape = build_layers(self._decoder, start, {"channels": image_shape[0], "pixels": pixels})
        if len(shape) == 1 and not any("pixels" in layer.arguments.values() for layer in self._decoder):
            modules.append(nn.Linear(shape[0], pixels))
            shape = (pixels,)
        if shape not in (image_shape, (pixels,)):
            ends = "x".join(map(str, shape)) if len(shape) == 3 else f"{shape[0]} numbers"
            raise ValueError(f"network.decoder_layers end in {ends}, but images are {'x'.join(map(str, image_shape))}")
        if len(shape) == 1:
            modules.append(nn.Unflatten(-1, image_shape))
        return self._initialised(nn.Sequential(*modules), self.decoder_initialisation or self.initialisation)

    def _initialised_encoder(self, modules: list[nn.Module]) -> nn.Sequential:
        body = self._initialised(nn.Sequential(*self.rescaled(), *modules), self.initialisation)
        if self.encoder_last_initialisation is not None:
            weighted = [module for module in body if isinstance(module, LAYERS_WITH_WEIGHTS)]
            if not weighted:
                raise ValueError("network.encoder_last_initialisation needs an encoder with weights")
            # Restore torch's own draw, which the initialisation of all layers has overwritten; "torch" keeps it.
            weighted[-1].reset_parameters()
            initialise(weighted[-1], self.encoder_last_initialisation)
        return body

    @staticmethod
    def _initialised(body: nn.Sequential, initialisation: str) -> nn.Sequential:
        initialise(body, initialisation)
        return body


NETWORKS: dict[str, type[Network]] = {"linear": Linear, "mlp": MLP, "conv": Conv, "layers": Layers}


def batched(body: nn.Module, z: Tensor, event_dimensions: int = 1) -> Tensor:
    """Apply the module ``body``, which takes one batch dimension, to ``z`` (*leading, *event)."""
    leading = z.shape[: z.dim() - event_dimensions]
    output = body(z.reshape(-1, *z.shape[len(leading) :]))
    return output.reshape(*leading, *output.shape[1:])


@contextmanager
def running_averages(network: nn.Module) -> Iterator[None]:
    """Inside, the batch normalisation of ``network`` uses its running averages, as in evaluation, and does not change
    them. Afterwards its layers are in the mode in which they were."""
    switched = [m for m in network.modules() if isinstance(m, BATCH_NORMALISATIONS) and m.training]
    for module in switched:
        module.eval()
    try:
        yield
    finally:
        for module in switched:
            module.train()
