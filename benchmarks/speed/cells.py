"""Whole runs: one after the other and concurrently, and in fp32 and bf16."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from benchmarks.conf_files import CONF_VARIABLE
from benchmarks.config import Config, compose
from benchmarks.data import data_root, load
from benchmarks.errors import UserError
from benchmarks.records.record import Record
from benchmarks.speed.table import as_table, ratios
from benchmarks.sweep import runner as sweep
from benchmarks.sweep.cell import Setting

IMAGES = 20_000
# A small run, 784-200-200-32 on synthetic images, long enough that the start of a process does not matter.
SMALL_CELL = ("network.hidden=[200,200]", "training.epochs=30", "training.validate_every=30")
PRECISION_SEEDS = (0, 1, 2)
PRECISION_SAMPLES = 20


def side_by_side(device: torch.device, repeats: int) -> tuple[str, dict[int, float]]:
    """Time cells one after the other on all threads, and concurrently on a share of the threads each.

    Returns a section of the page, and the median of the seconds per cell by the number of concurrent jobs.
    """
    jobs = (1, 2)
    count = max(jobs)
    seconds: dict[int, list[float]] = {number: [] for number in jobs}
    with _synthetic() as folder:
        cells = [compose("vae", "synthetic", "smoke", seed, SMALL_CELL) for seed in range(count)]
        for repeat in range(repeats):
            for number in jobs:
                seconds[number].append(_run(cells, folder, device, f"{number}-{repeat}", number))
    rows = [
        [
            "one after the other" if number == 1 else f"{number} side by side",
            "1.00" if number == 1 else ratios(seconds[1], seconds[number]),
            f"{statistics.median(seconds[number]):.0f}",
        ]
        for number in jobs
    ]
    table = as_table([f"{count} runs", "relative (quartiles)", "seconds (median)"], rows)
    text = f"""{count} runs of 784-200-200-32 with their evaluation, one after the other on all threads, and at the
same time on their share of them (`JOBS`):

{table}"""
    return text, {number: statistics.median(own) / count for number, own in seconds.items()}


@contextmanager
def _synthetic() -> Iterator[Path]:
    """A temporary folder with a data set of random images, whose configuration is on the search path."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = np.random.default_rng(0).integers(0, 256, size=(IMAGES + 1000, 1, 28, 28), dtype=np.uint8)
        np.save(folder / "images.npy", images)
        conf = folder / "conf" / "dataset"
        conf.mkdir(parents=True)
        (conf / "synthetic.yaml").write_text(
            f"name: synthetic\nsource: array\ntitle: synthetic\npath: {folder / 'images.npy'}\nobservation: bernoulli\n"
            "binarise: dynamic\nvalidation_share: 0.02\ntest_share: 0.02\n"
        )
        with mock.patch.dict(os.environ, {CONF_VARIABLE: str(folder / "conf")}):
            yield folder


def _run(cells: list[Config], folder: Path, device: torch.device, name: str, jobs: int) -> float:
    setting = Setting(folder / name, folder, folder / "cache", device, show_progress=False)
    started = time.perf_counter()
    summary = sweep.run(cells, setting, jobs=jobs)
    assert not summary.failed, summary.failed[0].error
    return time.perf_counter() - started


def half_precision(device: torch.device, cache: Path) -> str:
    """Measure how bf16 autocast in training changes the test ELBO of `vae` on MNIST: a section of the page.

    The profile is quick, with three seeds.
    """
    found: dict[str, list[Record]] = {}
    with tempfile.TemporaryDirectory() as folder:
        setting = Setting(Path(folder), data_root(), cache, device, show_progress=False)
        for precision in ("fp32", "bf16"):
            overrides = [f"training.precision={precision}", f"evaluation.importance_samples={PRECISION_SAMPLES}"]
            cells = [compose("vae", "mnist", "quick", seed, overrides) for seed in PRECISION_SEEDS]
            try:
                load(cells[0].dataset, setting.data_root)
            except UserError as error:
                return f"Not measured: {error}"
            summary = sweep.run(cells, setting)
            assert not summary.failed, summary.failed[0].error
            found[precision] = summary.ran
    elbo = {name: [record.metrics["elbo"] for record in records] for name, records in found.items()}
    rates = {name: [r.timing["train_images_per_second"] for r in records] for name, records in found.items()}
    rows = [
        [
            name,
            f"{statistics.fmean(elbo[name]):.2f} ± {statistics.stdev(elbo[name]):.2f}",
            f"{statistics.fmean(rates[name]) / statistics.fmean(rates['fp32']):.2f}",
        ]
        for name in elbo
    ]
    table = as_table(["training", "test ELBO (nats)", "relative speed"], rows)
    shift = statistics.fmean(elbo["bf16"]) - statistics.fmean(elbo["fp32"])
    spread = statistics.stdev(elbo["fp32"]) / len(PRECISION_SEEDS) ** 0.5
    return f"""`vae` on MNIST, quick profile with K = {PRECISION_SAMPLES}, {len(PRECISION_SEEDS)} seeds, all
evaluated in fp32:

{table}

`training.precision=bf16` moves the mean by {shift:+.2f} nats (before rounding); one standard error of the fp32
mean over seeds is {spread:.2f}, one of an ELBO over test images {found["fp32"][0].metrics["elbo_se"]:.2f}."""
