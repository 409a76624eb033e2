"""A normal distribution whose parameters a small network computes from other vectors."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from .deviations import Deviation
from .distributions import DiagonalNormal


class ConditionalNormal(nn.Module):
    """p(y | inputs) = N(mu, sigma^2), mu and the number that gives ``log_sigma`` from one hidden layer.

    The inputs are vectors (*batch, size) of the given ``sizes``, whose batch dimensions broadcast: one of them may have
    many draws for an image and another none. What the layer says is added to ``base``, where there is one: mu and
    that number (*batch, 2 outputs), side by side.
    """

    def __init__(self, sizes: Sequence[int], hidden: int, outputs: int, log_sigma: Deviation | None = None) -> None:
        super().__init__()
        self.log_sigma = log_sigma or Deviation()
        # One bias for all.
        self.first = nn.ModuleList(nn.Linear(size, hidden, bias=not number) for number, size in enumerate(sizes))
        self.last = nn.Linear(hidden, 2 * outputs)

    def silent(self) -> ConditionalNormal:
        """The same, but saying nothing at first: y begins as ``base`` alone has it."""
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)
        return self

    def forward(self, *inputs: Tensor, base: Tensor | None = None) -> DiagonalNormal:
        hidden = sum(layer(value) for layer, value in zip(self.first, inputs, strict=True))
        # Back to the inputs' type: under autocast layers return bfloat16, too coarse for densities.
        numbers = self.last(F.silu(hidden)).to(inputs[0].dtype)
        loc, a = (numbers if base is None else base + numbers).chunk(2, dim=-1)
        return DiagonalNormal(loc, self.log_sigma(a))
