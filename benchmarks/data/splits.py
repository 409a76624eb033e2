"""Removal of a data set's splits."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from benchmarks.data.dataset import Dataset, Split


def unsplit(data: Dataset) -> Dataset:
    """``data`` with each of its splits replaced by all images, in the order training, validation, test."""
    parts = [data.train, data.validation, data.test]
    whole = Split(
        torch.cat([part.images for part in parts]),
        _joined([part.labels for part in parts]),
        _joined([part.factors for part in parts]),
    )
    return dataclasses.replace(
        data,
        title=f"{data.title}, all images trained on and tested on",
        sha256=hashlib.sha256(f"{data.sha256} without splits".encode()).hexdigest(),
        train=whole,
        validation=whole,
        test=whole,
    )


def _joined(known: Sequence[Tensor | None]) -> Tensor | None:
    """The labels or factors of all parts, concatenated; None if those of a part are not known."""
    there = [part for part in known if part is not None]
    return torch.cat(there) if len(there) == len(known) else None
