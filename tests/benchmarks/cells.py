"""A small run on digits that the tests of the suite share."""

from pathlib import Path

import torch

from benchmarks.config import compose
from benchmarks.data import cache_root, load
from benchmarks.environment import threads, usable_cores
from benchmarks.sweep.cell import Setting, run_cell
from benchmarks.training.checkpoint import Checkpoints
from benchmarks.training.identity import identity

CPU = torch.device("cpu")
SMALL = ("network.hidden=[16]", "network.latent_size=4", "training.epochs=3")


def configuration(variant="vae", seed=0, *overrides):
    # A budget in steps replaces that in epochs; both together are refused.
    in_steps = any(override.startswith("training.steps=") for override in overrides)
    small = [option for option in SMALL if not (in_steps and option.startswith("training.epochs="))]
    return compose(variant, "digits", "smoke", seed, [*small, *overrides])


def digits():
    return load(configuration().dataset, Path("unused"))


def run(results, variant="vae", seed=0, *overrides):
    config = configuration(variant, seed, *overrides)
    return run_cell(config, digits(), setting(results))


def checkpoints(folder, config=None):
    """The checkpoints of a run on digits in ``folder``."""
    return Checkpoints(folder, identity(config or configuration(), digits()), CPU)


def threads_of_two_workers():
    """Use as many threads as each of two parallel runs gets: the last digits of metrics depend on this number."""
    return threads(max(1, usable_cores() // 2))


def setting(results):
    return Setting(results, Path("unused"), cache_root() / "features", CPU, show_progress=False)
