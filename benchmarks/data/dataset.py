"""What a data set is once it is loaded, and the configuration that says which one and how it is observed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from variants.distributions import OBSERVATION_MODELS
from variants.options import not_negative, one_of

BINARISATIONS = ("none", "dynamic")


@dataclass(frozen=True)
class Split:
    """``images``: uint8 (n, channels, height, width). ``labels``: int64 (n,) classes, (n, attributes) in {0, 1}, or
    None."""

    images: Tensor
    labels: Tensor | None

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class Dataset:
    """A loaded data set. ``sha256`` is over the bytes it was made from; ``title`` what a report calls it."""

    name: str
    title: str
    train: Split
    validation: Split
    test: Split
    sha256: str
    classes: int = 0

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width)"""
        _, channels, height, width = self.train.images.shape
        return channels, height, width


@dataclass
class DatasetConfig:
    """``name`` is the board's; ``source`` says which loader; ``observation`` is the board's observation model for every
    variant. ``binarise`` "dynamic" draws a pixel as 1 with probability byte / 255, anew for every training batch, once
    from a fixed seed for validation and test. ``train_on_validation`` adds the validation images to the training ones
    (60,000 instead of 50,000 for MNIST); validation then measures on training images."""

    name: str = ""
    source: str = ""
    title: str = ""
    observation: str = "bernoulli"
    binarise: str = "none"
    train_on_validation: bool = False

    def __post_init__(self) -> None:
        one_of("dataset.observation", self.observation, OBSERVATION_MODELS)
        one_of("dataset.binarise", self.binarise, BINARISATIONS)
        if OBSERVATION_MODELS[self.observation].binary and self.binarise == "none":
            raise ValueError(
                f"dataset.observation={self.observation} needs binary pixels: the Bernoulli mass of a grey one is no "
                "likelihood; set dataset.binarise=dynamic or another observation model"
            )
        if self.binarise != "none" and not OBSERVATION_MODELS[self.observation].binary:
            raise ValueError(f"dataset.binarise={self.binarise} needs dataset.observation=bernoulli")


def partition(images: Tensor, labels: Tensor, sizes: tuple[int, ...]) -> list[Split]:
    """Consecutive splits of the given sizes."""
    ends = torch.tensor(sizes).cumsum(0).tolist()
    starts = [0, *ends[:-1]]
    return [Split(images[a:b], labels[a:b]) for a, b in zip(starts, ends, strict=True)]


def check_size(name: str, value: int, available: int) -> None:
    """Raise ``ValueError`` unless ``value`` images can be taken from ``available``."""
    not_negative(name, value)
    if value >= available:
        raise ValueError(f"{name} must be below the {available} images there are, got {value}")
