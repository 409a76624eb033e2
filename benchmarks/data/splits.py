"""A data set without its splits."""

from __future__ import annotations

import dataclasses
import hashlib

import torch

from benchmarks.data.dataset import Dataset, Split


def unsplit(data: Dataset) -> Dataset:
    """``data`` with all images, in the order training, validation, test, as each of its three splits."""
    parts = [data.train, data.validation, data.test]
    labels = [part.labels for part in parts if part.labels is not None]
    whole = Split(torch.cat([part.images for part in parts]), torch.cat(labels) if len(labels) == len(parts) else None)
    return dataclasses.replace(
        data,
        title=f"{data.title}, all images trained on and tested on",
        sha256=hashlib.sha256(f"{data.sha256} without splits".encode()).hexdigest(),
        train=whole,
        validation=whole,
        test=whole,
    )
