"""A small cell on digits that the tests of the suite share."""

import os
from contextlib import contextmanager
from pathlib import Path

import torch

from benchmarks.config import compose
from benchmarks.data import cache_root, load
from benchmarks.sweep.cell import Setting, run_cell

CPU = torch.device("cpu")
SMALL = ("network.hidden=[16]", "network.latent_size=4", "training.epochs=3")


def configuration(variant="vae", seed=0, *overrides):
    return compose(variant, "digits", "smoke", seed, [*SMALL, *overrides])


def digits():
    return load(configuration().dataset, Path("unused"))


def run(results, variant="vae", seed=0, *overrides):
    config = configuration(variant, seed, *overrides)
    return run_cell(config, digits(), setting(results))


@contextmanager
def threads_of_two_workers():
    """As many threads as each of two cells side by side gets: metrics to the last digit follow the number."""
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // 2))
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def setting(results):
    return Setting(results, Path("unused"), cache_root() / "features", CPU, show_progress=False)
