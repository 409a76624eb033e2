"""Which run a configuration stands for: the part of it that affects the result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

# A data set's title and where its files lie do not affect a result: what the images are is told by the record's digest
# of the data. Run ids were first made with both in them, so the data sets of the suite, whose records are published,
# keep the titles that they had then. All others have none.
_FIRST_TITLES = {
    "celeba": "CelebA, 64x64 RGB",
    "digits": "scikit-learn digits, 8x8, binarised",
    "fashion_mnist": "Fashion-MNIST, 28x28, 8-bit grey",
    "fashion_mnist_binary": "Fashion-MNIST, 28x28, binarised",
    "mnist": "MNIST, 28x28, binarised",
    "mnist_grey": "MNIST, 28x28, 8-bit grey",
}


def configuration_hash(config: Mapping[str, Any]) -> str:
    """Eight hexadecimal digits over a resolved configuration."""
    canonical = json.dumps(config, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:8]


def identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """A resolved configuration with what does not affect the result set to the same value everywhere: the data set's
    title and path, and the folders of its files of labels and factors."""
    dataset = config.get("dataset", {})
    same = {"title": _FIRST_TITLES.get(dataset.get("name"), ""), "path": None}
    for key in ("labels", "factors"):
        file = dataset.get(key)
        same[key] = PurePath(file).name if isinstance(file, str) else file
    return {**config, "dataset": dataset | {key: value for key, value in same.items() if key in dataset}}


def run_id(config: Mapping[str, Any]) -> str:
    """<dataset>-<variant>-<profile>-s<seed>-<hash of what affects the result>, of a resolved configuration."""
    return _joined(config, configuration_hash(identity(config)))


def earlier_run_id(config: Mapping[str, Any]) -> str:
    """The id before titles and paths were left out of it. The suite's own data sets have the same one."""
    return _joined(config, configuration_hash(config))


def _joined(config: Mapping[str, Any], digits: str) -> str:
    names = (config["dataset"]["name"], config["variant"]["name"], config["profile"])
    return f"{'-'.join(names)}-s{config['seed']}-{digits}"
