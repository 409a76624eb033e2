"""The feature networks of a data set: small classifiers of its labels, either shipped or trained once and cached.

The *judge* provides the features in which samples are compared with test images. The *teacher* provides the features
that a feature-consistent variant uses in its training loss. It has another architecture and another seed, so that no
variant is trained on the judge's features.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.data import Dataset, feature_cache
from benchmarks.data.dataset import SIDES
from benchmarks.evaluation.judges.shipped import Role, shipped, shipped_file
from benchmarks.files import locked
from benchmarks.progress.report import counted_off, doing
from benchmarks.records.record import configuration_hash
from benchmarks.sealed import Content, read_cached, seal, write_cached
from benchmarks.seeding import seed_everything

log = logging.getLogger(__name__)

FEATURES = 128
BATCH = 128
# Number of images seen in training: for the judge, 6 epochs of MNIST's training split. PASSES limits the number of
# epochs on small data sets.
BUDGET = {"judge": 300_000, "teacher": 150_000}
PASSES = 40
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 1e-4
SEEDS = {"judge": 1, "teacher": 2}
# Part of the cache key. Change it whenever the training below changes.
VERSION = 3


class Judge(nn.Module):
    """A convolutional classifier with max-pooling; ``features`` (batch, 128) are the input of its last layer."""

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        channels, height, width = shape
        stages: list[nn.Module] = []
        out = 32
        while min(height, width) > 7:
            # For large images, the first convolution has stride 2, so that the cost is similar to that of small images.
            stride = 2 if not stages and min(height, width) > 32 else 1
            stages += [nn.Conv2d(channels, out, 3, stride, 1), nn.BatchNorm2d(out), nn.ReLU(), nn.MaxPool2d(2)]
            channels, out = out, min(2 * out, 128)
            height, width = -(-height // stride) // 2, -(-width // stride) // 2
        self.body = nn.Sequential(*stages, nn.Flatten(), nn.Linear(channels * height * width, FEATURES), nn.ReLU())
        self.classifier = nn.Linear(FEATURES, classes)

    def features(self, x: Tensor) -> Tensor:
        return self.body(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.body(x))


class Teacher(nn.Module):
    """A classifier with strided convolutions, whose last feature map is averaged to a 4x4 grid.

    :meth:`layers` returns the feature map after each ReLU.
    """

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        widths = (shape[0], 8, 24, 48)
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(before, after, 3, 1 if i == 0 else 2, 1), nn.BatchNorm2d(after), nn.ReLU())
            for i, (before, after) in enumerate(pairwise(widths))
        )
        self.classifier = nn.Linear(16 * widths[-1], classes)

    def layers(self, x: Tensor) -> list[Tensor]:
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(F.adaptive_avg_pool2d(self.layers(x)[-1], 4).flatten(1))


class LayerMaps(nn.Module):
    """A module that maps images to the list of a teacher's feature maps."""

    def __init__(self, teacher: Teacher) -> None:
        super().__init__()
        self.teacher = teacher

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.teacher.layers(x)


@dataclass(frozen=True)
class FeatureNetwork:
    """A trained feature network.

    ``accuracy``: on the test split, averaged over attributes if images have several labels; None if there are no test
    images. ``key``: the name of its
    file. ``digest``: the digest of the file's content; networks with equal digests are equal.
    """

    network: Judge | Teacher
    accuracy: float | None
    key: str
    digest: str


def feature_network(data: Dataset, role: Role, cache: Path, device: torch.device) -> FeatureNetwork:
    """The network of ``role`` for ``data``: the shipped one, or one from ``cache``, or one that is trained now.

    Its input is 8-bit pixels / 255. Raises ``ValueError`` for a data set without labels or with a single class, and
    :class:`UserError` for a damaged or missing shipped network.
    """
    if data.train.labels is None or data.test.labels is None or data.classes == 0:
        raise ValueError(f"{data.name} has no labels to train a feature network on")
    if data.train.labels.dim() == 1 and len(data.train.labels.unique()) == 1:
        raise ValueError(f"{data.name} has a single class, from which no feature network can learn")
    key, content = shipped(role, data.sha256) or _cached(data, role, cache, device)
    return _network(key, content, lambda: untrained(data, role), device)


def shipped_judge(source: str, device: torch.device) -> FeatureNetwork:
    """The judge that comes with the suite for the data set ``source``, one of ``SOURCES``.

    Its images are grey, with ``SIDES[source]`` pixels a side. Raises :class:`UserError` for a damaged or missing file.
    """
    key, content = shipped_file("judge", source)
    side, classes = SIDES[source], len(content.tensors["classifier.bias"])
    return _network(key, content, lambda: Judge((1, side, side), classes), device)


def _network(key: str, content: Content, make: Callable[[], Judge | Teacher], device: torch.device) -> FeatureNetwork:
    """The network that ``make`` returns, with the weights of a file, in evaluation mode and without gradients."""
    # On the meta device no initial weights are drawn.
    with torch.device("meta"):
        network = make()
    # Files have weights of 16 bits.
    network.load_state_dict({name: tensor.float() for name, tensor in content.tensors.items()}, assign=True)
    network = network.to(device).eval().requires_grad_(False)
    if isinstance(network, Judge):
        # With channels last, convolutions take two thirds of the time, and results agree to seven digits.
        network = network.to(memory_format=torch.channels_last)
    accuracy = content.facts["accuracy"]
    return FeatureNetwork(network, None if accuracy is None else float(accuracy), key, content.digest)


def _cached(data: Dataset, role: Role, cache: Path, device: torch.device) -> tuple[str, Content]:
    """The name and the content of a network from ``cache``. It is trained first if it is not there."""
    key = f"{role}-{configuration_hash({'data': data.sha256, 'n': len(data.train), 'version': VERSION})}"
    path = feature_cache(cache) / f"{key}.safetensors"
    # Concurrent cells may need the same network: one trains it, the others wait.
    with locked(path.with_suffix(".lock")):
        content = read_cached(path)
        if content is None:
            log.warning(
                "%s: training its %s network, %s steps; it is kept in %s",
                data.name,
                role,
                f"{_steps(data, role):,}",
                path,
            )
            network = untrained(data, role).to(device)
            with doing(f"training the {role} of {data.name}"):
                train(network, data, role, device)
                found = accuracy(network, data, device) if len(data.test) else None
            content = seal(network.state_dict(), {"accuracy": found, "recipe": recipe(data, role)})
            write_cached(path, content)
            log.info("%s: trained the %s network%s", data.name, role, accuracy_words(found))
    return key, content


def untrained(data: Dataset, role: Role) -> Judge | Teacher:
    """The architecture of ``role`` for images and classes of ``data``."""
    return (Judge if role == "judge" else Teacher)(data.shape, data.classes)


def recipe(data: Dataset, role: Role) -> dict[str, Any]:
    """A description of :func:`train`, for the facts of a file."""
    return {
        "version": VERSION,
        "seed": SEEDS[role],
        "steps": _steps(data, role),
        "batch": BATCH,
        "optimiser": f"AdamW, weight decay {WEIGHT_DECAY:g}, one cycle up to {LEARNING_RATE:g}",
    }


def _steps(data: Dataset, role: Role) -> int:
    return max(1, min(BUDGET[role], PASSES * len(data.train)) // BATCH)


@torch.enable_grad()
def train(network: Judge | Teacher, data: Dataset, role: Role, device: torch.device) -> None:
    """Reinitialise the weights and train them on the training split."""
    assert data.train.labels is not None
    seed_everything(SEEDS[role], "feature network")
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.reset_parameters()
    steps = _steps(data, role)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=WEIGHT_DECAY, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps)
    network.train()
    for _ in counted_off(range(steps), steps, "steps"):
        rows = torch.randint(len(data.train), (BATCH,))
        x, y = data.train.images[rows].to(device).float() / 255, data.train.labels[rows].to(device)
        loss = _loss(network(x), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()


def _loss(logits: Tensor, labels: Tensor) -> Tensor:
    if labels.dim() == 1:
        return F.cross_entropy(logits, labels)
    return F.binary_cross_entropy_with_logits(logits, labels.float())


def accuracy_words(accuracy: float | None) -> str:
    """The end of a phrase about a network: its test accuracy, or nothing if there were no test images."""
    return "" if accuracy is None else f", test accuracy {100 * accuracy:.2f}%"


@torch.no_grad()
def accuracy(network: nn.Module, data: Dataset, device: torch.device) -> float:
    """The fraction of test labels that ``network`` predicts correctly."""
    network.eval()
    assert data.test.labels is not None
    right = 0.0
    for images, labels in zip(data.test.images.split(500), data.test.labels.split(500), strict=True):
        logits = network(images.to(device).float() / 255).cpu()
        found = logits.argmax(-1) if labels.dim() == 1 else (logits > 0).long()
        right += (found == labels).double().sum().item()
    return right / data.test.labels.numel()
