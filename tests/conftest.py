"""Fixtures for all tests, and the number of processes that run the tests."""

import os

# Set before NumPy and torch are imported, and inherited by the processes that tests start. The models are tiny: one
# thread is as fast as several, and the workers of pytest-xdist do not compete for the cores.
os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

import pytest
import torch

# A worker takes seconds to import torch and holds about 1 GiB.
MOST_WORKERS = 8

torch.set_num_threads(1)


def pytest_xdist_auto_num_workers(config):
    """The number of workers for ``-n auto``: the cores that this process may use, at most ``MOST_WORKERS``.

    A container or taskset may limit the cores.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_WORKERS)


@pytest.fixture(autouse=True)
def seeded():
    """Seed torch before each test, so that a test draws the same numbers alone and among others."""
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def shared_cache(request, tmp_path_factory):
    """All tests, workers and processes that tests start share one cache, so feature networks are trained once."""
    base = tmp_path_factory.getbasetemp()
    # The folder of a pytest-xdist worker is inside that of the test session.
    cache = (base.parent if hasattr(request.config, "workerinput") else base) / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VAE_CACHE", str(cache))
        yield
