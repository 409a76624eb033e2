"""Train the shipped judges and teachers again."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.data import load
from benchmarks.data.dataset import Dataset, DatasetConfig
from benchmarks.evaluation.judges.network import accuracy, recipe, train, untrained
from benchmarks.evaluation.judges.shipped import ROLES, Role, shipped_path
from benchmarks.progress.report import doing
from benchmarks.sealed import Content, seal, write_sealed

log = logging.getLogger(__name__)


def make_shipped(sources: Sequence[str], data_root: Path) -> list[Path]:
    """Train the judge and the teacher of each data set and write their files. Returns the paths."""
    written = []
    for source in sources:
        data = load(DatasetConfig(name=source, source=source, title=source, binarise="dynamic"), data_root)
        for role in ROLES:
            with doing(f"training the {role} of {data.name}"):
                content = made(data, role)
            path = shipped_path(role, source)
            write_sealed(path, content)
            written.append(path)
            log.info("%s: test accuracy %.2f%%", path, 100 * content.facts["accuracy"])
    return written


def made(data: Dataset, role: Role) -> Content:
    """Train a network on ``data`` in the way that shipped networks are trained.

    Training uses one CPU thread, so the weights do not depend on the number of cores. The weights are rounded to half
    precision before the accuracy is measured.
    """
    device, threads = torch.device("cpu"), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        network = untrained(data, role)
        train(network, data, role, device)
        halves = {n: t.half() if t.is_floating_point() else t for n, t in network.state_dict().items()}
        network.load_state_dict(halves)
        facts = {"data": data.sha256, "accuracy": accuracy(network, data, device), "recipe": recipe(data, role)}
    finally:
        torch.set_num_threads(threads)
    return seal(halves, facts)
