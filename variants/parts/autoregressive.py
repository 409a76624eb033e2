"""An autoregressive prior over a grid of codes: a small PixelCNN."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .distributions import ONE_DRAW, Distribution, Shape


class MaskedConv2d(nn.Conv2d):
    """A 3x3 convolution over the positions before the current one in raster order. ``centre`` includes the current
    position."""

    mask: Tensor

    def __init__(self, inputs: int, outputs: int, centre: bool) -> None:
        super().__init__(inputs, outputs, kernel_size=3, padding=1)
        mask = torch.zeros(1, 1, 3, 3)
        mask[..., 0, :] = 1
        mask[..., 1, 0] = 1
        mask[..., 1, 1] = float(centre)
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.mask, self.bias, padding=self.padding)


class PixelCNN(nn.Module):
    """Logits of every code given codes before it in raster order (van den Oord et al. 2016).

    Maps codes, int64 (batch, height, width), to logits (batch, codes, height, width). The first layer masks its centre;
    the ``layers`` residual layers after it do not. A code sees the rows above it up to ``layers`` + 1 rows away, and of
    each only what masked 3x3 convolutions reach: there is a blind spot to the right.
    """

    def __init__(self, codes: int, channels: int, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(codes, channels)
        self.first = MaskedConv2d(channels, channels, centre=False)
        self.residual = nn.ModuleList(MaskedConv2d(channels, channels, centre=True) for _ in range(layers))
        self.head = nn.Conv2d(channels, codes, kernel_size=1)

    def forward(self, codes: Tensor) -> Tensor:
        hidden = self.first(self.embedding(codes).movedim(-1, 1))
        for layer in self.residual:
            hidden = hidden + layer(F.relu(hidden))
        return self.head(F.relu(hidden))


class AutoregressivePrior(Distribution):
    """p(codes) = prod_i p(code_i | codes before it that the network sees).

    A value is int64 (*batch, height * width) in raster order.
    """

    def __init__(self, network: PixelCNN, grid: tuple[int, int]) -> None:
        self.network, self.grid = network, grid
        super().__init__(torch.Size(), torch.Size([grid[0] * grid[1]]))

    def log_prob(self, value: Tensor) -> Tensor:
        codes = value.reshape(-1, *self.grid)
        log_p = -F.cross_entropy(self.network(codes), codes, reduction="none").flatten(1).sum(-1)
        return log_p.reshape(value.shape[:-1])

    @torch.no_grad()
    def sample(self, sample_shape: Shape = ONE_DRAW) -> Tensor:
        """Ancestral sampling: one forward pass of the network per position."""
        height, width = self.grid
        count = torch.Size(sample_shape).numel()
        device = self.network.embedding.weight.device
        codes = torch.zeros(count, height, width, dtype=torch.long, device=device)
        for row in range(height):
            for column in range(width):
                probabilities = self.network(codes)[:, :, row, column].softmax(-1)
                codes[:, row, column] = torch.multinomial(probabilities, 1).squeeze(-1)
        return codes.reshape(*sample_shape, height * width)
