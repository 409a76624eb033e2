"""Batch normalisation without the statistics of a batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

BATCH_NORMALISATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


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
