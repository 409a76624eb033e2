"""The identity of a run: the part of its configuration that affects the result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

# A data set's title and the location of its files do not affect a result: the record's digest of the data identifies
# the images. The first run ids included both, so the suite's own data sets, whose records are published, keep the
# titles that they had then. The title of all other data sets is empty.
_FIRST_TITLES = {
    "celeba": "CelebA, 64x64 RGB",
    "digits": "scikit-learn digits, 8x8, binarised",
    "fashion_mnist": "Fashion-MNIST, 28x28, 8-bit grey",
    "fashion_mnist_binary": "Fashion-MNIST, 28x28, binarised",
    "mnist": "MNIST, 28x28, binarised",
    "mnist_grey": "MNIST, 28x28, 8-bit grey",
}


def configuration_hash(config: Mapping[str, Any]) -> str:
    """Eight hexadecimal digits of a hash of a resolved configuration."""
    canonical = json.dumps(config, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:8]


def identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """A resolved configuration in which everything that does not affect the result has a fixed value.

    This concerns the data set's title and path, and the folders of its files of labels and factors. For the shapes,
    which the suite draws, a path means that the images are those of dSprites instead.
    """
    dataset = config.get("dataset", {})
    is_dsprites = dataset.get("source") == "shapes" and dataset.get("path") is not None
    same = {"title": _FIRST_TITLES.get(dataset.get("name"), ""), "path": "dsprites" if is_dsprites else None}
    for key in ("labels", "factors"):
        file = dataset.get(key)
        same[key] = PurePath(file).name if isinstance(file, str) else file
    return {**config, "dataset": dataset | {key: value for key, value in same.items() if key in dataset}}


def run_id(config: Mapping[str, Any]) -> str:
    """The id of a resolved configuration: <dataset>-<variant>-<profile>-s<seed>-<hash of what affects the result>."""
    return _joined(config, configuration_hash(identity(config)))


def earlier_run_id(config: Mapping[str, Any]) -> str:
    """The id that earlier versions made, which also depended on titles and paths.

    For the suite's own data sets both ids are the same.
    """
    return _joined(config, configuration_hash(config))


def is_run_id(text: str, config: Mapping[str, Any]) -> bool:
    """Whether ``text`` is the id of this configuration in any version; one did not tell dSprites from the shapes."""
    without_path = {**config, "dataset": config["dataset"] | {"path": None}}
    return text == run_id(config) or text in (earlier_run_id(config), run_id(without_path))


def _joined(config: Mapping[str, Any], digits: str) -> str:
    names = (config["dataset"]["name"], config["variant"]["name"], config["profile"])
    return f"{'-'.join(names)}-s{config['seed']}-{digits}"
