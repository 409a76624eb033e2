"""Fixtures of every test, and how many processes run them."""

import os

# Before NumPy and torch are imported, and for the processes that tests start. The models are tiny: one thread is as
# fast as several, and the workers of pytest-xdist do not compete for the cores.
os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

import pytest
import torch

# A worker imports torch for seconds and holds about 1 GiB.
MOST_WORKERS = 8

torch.set_num_threads(1)


def pytest_xdist_auto_num_workers(config):
    """What ``-n auto`` stands for: the cores that this process may use, which a container or taskset may limit."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_WORKERS)


@pytest.fixture(autouse=True)
def seeded():
    """Every test draws the same numbers, alone or among others."""
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def shared_cache(request, tmp_path_factory):
    """Feature networks are trained once for all tests, in all workers and in the processes that tests start."""
    base = tmp_path_factory.getbasetemp()
    # A worker of pytest-xdist has a folder of its own inside that of the run.
    cache = (base.parent if hasattr(request.config, "workerinput") else base) / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VAE_CACHE", str(cache))
        yield
