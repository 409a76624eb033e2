"""``make data``: download and verify data sets before they are needed."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from tqdm import tqdm

from benchmarks.config import dataset_of
from benchmarks.data.loading import load
from benchmarks.data.sources import data_root
from benchmarks.errors import UserError

log = logging.getLogger(__name__)


def fetch(names: Sequence[str]) -> int:
    """Load every data set once. Returns 0 if all could be loaded, otherwise 1; the reasons are logged."""
    missing = 0
    for name in names:
        config = dataset_of(name)
        try:
            data = load(config, data_root())
        except UserError as error:
            log.error("%s: %s", name, error)
            missing += 1
            continue
        sizes = f"{len(data.train)} / {len(data.validation)} / {len(data.test)}"
        tqdm.write(f"{name}: {sizes} train / validation / test images of {data.shape}, SHA-256 {data.sha256[:16]}")
    return 1 if missing else 0
