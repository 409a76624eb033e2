"""Curves of cost against work, such as speed against batch size."""

from __future__ import annotations

import multiprocessing
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch

import variants
from benchmarks.config import TrainingConfig
from benchmarks.data import DatasetConfig
from benchmarks.reporting.figures import png
from benchmarks.reporting.style import new_figure, own_settings
from benchmarks.speed.loops import BATCH, LATENT, NETWORK, train_once
from benchmarks.speed.table import seconds_of
from benchmarks.training.loop import train
from variants.parts.networks import Conv

IMAGES = 5000
BATCHES = (20, 50, 100, 200, 500, 1000)
LATENTS = (2, 8, 32, 128, 512)
FACES = (1000, 2000, 4000, 8000)


@own_settings()
def curves(device: torch.device, by_samples: Mapping[int, float], by_jobs: Mapping[int, float]) -> bytes:
    """A figure with five curves, as PNG.

    ``by_samples``: seconds per image by K. ``by_jobs``: seconds per run by the number of concurrent runs.
    """
    images = (torch.rand(IMAGES, 1, 28, 28, device=device) * 255).to(torch.uint8)
    rates = {batch: _rate(images, batch, LATENT) for batch in BATCHES}
    latents = {size: _rate(images, BATCH, size) for size in LATENTS}
    memory = {count: _memory(count) for count in FACES}
    panels: Sequence[tuple[Mapping[int, float], str, str, str]] = [
        (rates, "batch size", "training images/s", "log"),
        (latents, "latent dimensions", "training images/s", "log"),
        (by_samples, "importance samples K", "seconds per image", "log"),
        (memory, "64x64 RGB images in a memory map", "MiB of the process's own memory", "linear"),
        (by_jobs, "runs side by side (JOBS)", "seconds per run", "linear"),
    ]
    figure, axes = new_figure(3.3 * len(panels), 3.2, 1, len(panels))
    for (points, x, y, scale), axis in zip(panels, axes, strict=True):
        axis.plot(list(points), list(points.values()), marker="o", color="#0072B2")
        axis.set_xscale(scale)
        axis.set_xlabel(x, fontsize=9)
        axis.set_ylabel(y, fontsize=9)
        # Leave room for the markers at the top.
        axis.set_ylim(0, 1.08 * max(points.values()))
        if scale == "linear":
            axis.set_xticks(list(points))
        axis.tick_params(labelsize=8)
    return png(figure, 110)


def _rate(images: torch.Tensor, batch: int, latent_size: int) -> float:
    """Training images per second, in the best of three epochs."""
    network = replace(NETWORK, latent_size=latent_size)
    return len(images) / min(seconds_of(lambda: train_once(images, batch, network), images.device) for _ in range(3))


def _memory(count: int) -> float:
    """MiB of a separate process after training on ``count`` images of a memory map, without the map itself."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_train_on_a_map, args=(count, sender))
    process.start()
    # Close the parent's copy: otherwise the pipe would not end, and recv would wait for ever, if the process died.
    sender.close()
    value = float(receiver.recv())
    process.join()
    return value


def _train_on_a_map(count: int, sender: Connection) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "faces.npy"
        array = np.lib.format.open_memmap(path, "w+", np.uint8, (count, 3, 64, 64))
        array.flush()
        images = torch.from_numpy(np.load(path, mmap_mode="c"))
        model = variants.build("vae", (3, 64, 64), Conv(latent_size=16, width=8), observation="discretised_logistic")
        data = DatasetConfig(observation="discretised_logistic", binarise="none")
        # The number of steps is the same for every size.
        config = TrainingConfig(epochs=max(FACES) // count, batch_size=BATCH)
        train(model, images, data, config, seed=0, show_progress=False)
        found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
        sender.send(int(found[1]) / 1024 if found else 0.0)
