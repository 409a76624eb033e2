"""Feature spaces, in which generated and reconstructed images are compared with test images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.data import Dataset, cropped, feature_cache
from benchmarks.evaluation.features.frechet import Statistics, frechet_distance, statistics
from benchmarks.evaluation.features.inception import Inception, weights_path
from benchmarks.evaluation.judges.network import FeatureNetwork, Judge, feature_network
from benchmarks.progress.report import counted_off, doing
from benchmarks.records.record import configuration_hash
from benchmarks.sealed import read_cached, seal, write_cached
from benchmarks.seeding import kept_random_state

# Small enough for the processor's cache: takes half the time of batches of 500 images of 28x28.
BATCH = 100
LIMITS_SEED = 0


@dataclass(frozen=True)
class FeatureSpace:
    """A network whose features are used to compare images, and the features of the test split.

    ``name``: the suffix of the metrics, "features" (the data set's own judge) or "inception". ``reference``: the
    features of the test split (m, d), computed once. ``facts``: entries for the record, such as the network, its
    accuracy, and distances of training images and of noise for comparison.
    """

    name: str
    network: Callable[[Tensor], Tensor]
    reference: Tensor
    statistics: Statistics
    facts: dict[str, object]

    def __call__(self, images: Tensor) -> Tensor:
        """Features (n, d), on the CPU, of images (n, channels, height, width) in [0, 1], rounded to 8 bits first."""
        parts = counted_off(images.split(BATCH), len(images), "images", len)
        return torch.cat([self.network((part.clamp(0, 1) * 255).round() / 255).cpu() for part in parts])

    def distance(self, features: Tensor) -> float:
        """Fréchet distance between features (n, d) and those of the test split."""
        return frechet_distance(statistics(features), self.statistics)

    def bias(self, metric: str, features: Tensor) -> list[str]:
        """A warning that a Fréchet distance of features (n, d) is biased, if n or the number of test images is less
        than d: a covariance of fewer points than dimensions is singular."""
        count, dimensions = features.shape
        if min(count, len(self.reference)) >= dimensions:
            return []
        images = f"{count} images and {len(self.reference)} test images"
        return [f"{metric} from {images} in {dimensions} dimensions is biased upwards"]


def judge_space(data: Dataset, cache: Path, device: torch.device, count: int) -> FeatureSpace:
    """The feature space of the data set's own judge.

    The judge sees images without zero padding. Raises ``ValueError`` for data without labels, and :class:`UserError`
    for a damaged or missing shipped judge.
    """
    inside = data.unpadded or data
    found = feature_network(inside, "judge", cache, device)
    facts: dict[str, object] = {"judge": found.key, "judge_digest": found.digest, "judge_accuracy": found.accuracy}
    # The cache key includes the digest of the weights. Retraining with another number of threads gives other weights,
    # and features of the earlier network must not be reused for them.
    identity = f"{found.key}, {found.digest[:16]}"
    return _space("features", _inside(found, inside.shape), identity, facts, data, cache, device, count)


def _inside(found: FeatureNetwork, shape: tuple[int, int, int]) -> Callable[[Tensor], Tensor]:
    """A function for a judge's features of images, which are cropped at the centre to the ``shape`` that it takes."""
    judge = found.network
    assert isinstance(judge, Judge)

    def features(images: Tensor) -> Tensor:
        return judge.features(cropped(images, *shape[1:]))

    return features


def inception_space(
    data: Dataset, cache: Path, device: torch.device, count: int, precision: str = "fp32"
) -> FeatureSpace:
    """The feature space of pytorch-fid's Inception; ``precision`` is "fp32" or "bf16".

    Raises ``WeightsUnavailableError`` if there are no weights.
    """
    network = Inception(weights_path(), precision).to(device)
    facts: dict[str, object] = {"inception_weights_sha256": network.digest}
    return _space("inception", network, f"{network.digest[:16]}, {precision}", facts, data, cache, device, count)


def _space(
    name: str,
    network: Callable[[Tensor], Tensor],
    key: str,
    facts: dict[str, object],
    data: Dataset,
    cache: Path,
    device: torch.device,
    count: int,
) -> FeatureSpace:
    """A feature space with the features of the test split, which are computed once and kept in ``cache``.

    The cache key depends on the data, the split, the preprocessing and the network.
    """

    on_device = _on_device(network, device)
    identity = {"data": data.sha256, "split": "test", "pixels": "byte / 255", "network": key}
    stem, cache = f"{name}-{configuration_hash(identity)}", feature_cache(cache)
    path = cache / f"{stem}.safetensors"
    cached = read_cached(path)
    if cached is None:
        with doing(f"computing {name} of the test images"):
            features = _features(on_device, data.test.images)
        cached = seal({"features": features}, {})
        write_cached(path, cached)
    reference = cached.tensors["features"]
    space = FeatureSpace(name, on_device, reference, statistics(reference), facts)
    with doing(f"computing {name} of training images and of noise"):
        known = cache / f"{stem}-limits-{count}-of-{len(data.train)}.json"
        facts[f"limits_{name}"] = _limits(space, data, known, count)
    return space


def judge_space_of(
    images: Tensor, found: FeatureNetwork, shape: tuple[int, int, int], device: torch.device
) -> FeatureSpace:
    """A judge's feature space with ``images`` in place of a data set's test split. Nothing is cached.

    ``images``: uint8 (m, channels, height, width). The judge sees them cropped at the centre to its input ``shape``.
    """
    facts: dict[str, object] = {"judge": found.key, "judge_digest": found.digest, "judge_accuracy": found.accuracy}
    return _space_of(images, "features", _inside(found, shape), facts, device)


def inception_space_of(images: Tensor, device: torch.device, precision: str = "fp32") -> FeatureSpace:
    """Like :func:`judge_space_of`, with pytorch-fid's Inception. Raises ``WeightsUnavailableError``."""
    network = Inception(weights_path(), precision).to(device)
    return _space_of(images, "inception", network, {"inception_weights_sha256": network.digest}, device)


def _space_of(
    images: Tensor, name: str, network: Callable[[Tensor], Tensor], facts: dict[str, object], device: torch.device
) -> FeatureSpace:
    on_device = _on_device(network, device)
    reference = _features(on_device, images)
    return FeatureSpace(name, on_device, reference, statistics(reference), facts)


def _on_device(network: Callable[[Tensor], Tensor], device: torch.device) -> Callable[[Tensor], Tensor]:
    def features(images: Tensor) -> Tensor:
        with torch.no_grad():
            return network(images.to(device))

    return features


def _features(network: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Features (n, d), on the CPU, of uint8 images (n, channels, height, width)."""
    parts = counted_off(images.split(BATCH), len(images), "images", len)
    return torch.cat([network(part.float() / 255).cpu() for part in parts])


def _limits(space: FeatureSpace, data: Dataset, path: Path, count: int) -> dict[str, float]:
    """Reference distances that show what a distance means on this data set, each from ``count`` images.

    ``train``: training images (the floor). ``noise``: uniform random pixels (the ceiling). ``pca_32_reconstruction``:
    test images projected onto 32 principal components of training images, a number that separates most models.
    """
    cached = read_cached(path)
    if cached is not None:
        return dict(cached.facts)
    generator = torch.Generator().manual_seed(LIMITS_SEED)
    train = data.train.images[torch.randperm(len(data.train), generator=generator)[:count]].float() / 255
    noise = torch.rand(count, *data.shape, generator=generator)
    limits = {
        "train": space.distance(space(train)),
        "noise": space.distance(space(noise)),
        "pca_32_reconstruction": space.distance(space(_projected(train, data.test.images[:count].float() / 255, 32))),
    }
    write_cached(path, seal({}, limits))
    return limits


def _projected(train: Tensor, test: Tensor, components: int) -> Tensor:
    """Project test images onto the first principal components of training images, the best linear autoencoder."""
    flat = train.flatten(1)
    mean = flat.mean(0)
    # The SVD is randomised: for 64x64 colour images, the covariance has 12,288 rows, and its eigenvectors take minutes.
    with kept_random_state():
        torch.manual_seed(LIMITS_SEED)
        _, _, vectors = torch.svd_lowrank(flat - mean, q=min(components + 16, *flat.shape), niter=6)
    basis = vectors[:, :components]
    return ((test.flatten(1) - mean) @ basis @ basis.T + mean).reshape(test.shape)
