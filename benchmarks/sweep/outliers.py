"""The outlier images of a cell: images of another data set, and of classes that were left out of training."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.config import outlier_dataset
from benchmarks.data import DOWNLOADED, Dataset, DatasetConfig, in_shape, load, observe_evaluation, with_zeros
from benchmarks.errors import UserError
from benchmarks.evaluation.evaluate import Outliers
from benchmarks.evaluation.families.outliers import IMAGES

log = logging.getLogger(__name__)


def outlier_sets(config: DatasetConfig, data: Dataset, root: Path, device: torch.device) -> dict[str, Outliers | str]:
    """The outlier sets "dataset" and "class" for ``data``, or for each the reason why there is none. The other data set
    is read from ``root`` and not downloaded, see :func:`download_outliers`."""

    def observed(images: Tensor, facts: Mapping[str, Any]) -> Outliers:
        shown = observe_evaluation(images[:IMAGES], config).to(device)
        return Outliers(shown, facts)

    found: dict[str, Outliers | str] = {
        "dataset": "no other data set was named: set dataset.outliers",
        "class": "no class was left out of training: set dataset.left_out",
    }
    if data.left_out is not None:
        one = config.normal_classes is None
        facts = {"class": config.left_out} if one else {"normal_classes": config.normal_classes}
        found["class"] = observed(data.left_out.images, facts)
    name = config.outlier_name
    if config.outliers == "none":
        found["dataset"] = "dataset.outliers is none"
    elif name is not None:
        try:
            other = load(outlier_dataset(config, name), root, download=False)
            images = in_shape(other.test.images[:IMAGES], (data.unpadded or data).shape)
            if data.unpadded is not None:
                images = with_zeros(images, data.shape[-1])
            found["dataset"] = observed(images, {"dataset": name, "sha256": other.sha256})
        except UserError as error:
            log.info("outliers for %s: %s", config.name, error)
            found["dataset"] = f"the data set {name} could not be loaded: run make data DATASETS={name}"
    return found


def download_outliers(config: DatasetConfig, root: Path) -> None:
    """Download the data set of outliers to ``root`` before its images are needed. Nothing is downloaded for a data set
    that needs no download itself, so that its runs work without a network."""
    name = config.outlier_name
    if name is None or config.source not in DOWNLOADED or config.condition != "none":
        return
    try:
        load(outlier_dataset(config, name), root)
    except UserError as error:
        log.warning("no outliers for %s: %s", config.name, error)
