"""Fixtures of every test."""

import pytest
import torch


@pytest.fixture(autouse=True)
def seeded():
    """Every test draws the same numbers, alone or among others."""
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def shared_cache(tmp_path_factory):
    """Feature networks are trained once for all tests, in their processes too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VAE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
