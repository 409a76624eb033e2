"""A normal distribution whose parameters a small network computes from other vectors."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from .deviations import Deviation
from .distributions import DiagonalNormal


class ConditionalNormal(nn.Module):
    """p(y | inputs) = N(mu, sigma^2), where a network with one hidden layer computes mu and the argument a of
    ``log_sigma``.

    The inputs are vectors (*batch, size) of the given ``sizes``. Their batch dimensions broadcast: one input may have a
    dimension of draws that another lacks. If :meth:`forward` gets a ``base`` (*batch, 2 outputs), the concatenation
    of mu and a, the network's output is added to it.
    """

    def __init__(self, sizes: Sequence[int], hidden: int, outputs: int, log_sigma: Deviation | None = None) -> None:
        super().__init__()
        self.log_sigma = log_sigma or Deviation()
        # The layers are summed, so only the first needs a bias.
        self.first = nn.ModuleList(nn.Linear(size, hidden, bias=not number) for number, size in enumerate(sizes))
        self.last = nn.Linear(hidden, 2 * outputs)

    def silent(self) -> ConditionalNormal:
        """Initialise the last layer to zero, so that training begins with the distribution of ``base`` alone. Returns
        this module."""
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)
        return self

    def forward(self, *inputs: Tensor, base: Tensor | None = None) -> DiagonalNormal:
        hidden = sum(layer(value) for layer, value in zip(self.first, inputs, strict=True))
        # Convert to the dtype of the inputs: under autocast layers return bfloat16, too coarse for densities.
        numbers = self.last(F.silu(hidden)).to(inputs[0].dtype)
        loc, a = (numbers if base is None else base + numbers).chunk(2, dim=-1)
        return DiagonalNormal(loc, self.log_sigma(a))
