"""Loading of the data set that a configuration describes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.data.dataset import SIDES, Dataset, DatasetConfig
from benchmarks.data.outliers import keep_only, leave_out
from benchmarks.data.padding import padded
from benchmarks.data.readers.array import load_array
from benchmarks.data.readers.celeba import load_celeba
from benchmarks.data.readers.digits import load_digits
from benchmarks.data.readers.folder import load_folder
from benchmarks.data.readers.idx_images import load_fashion_mnist, load_mnist
from benchmarks.data.readers.shapes import load_shapes
from benchmarks.data.resizing import at_side
from benchmarks.data.splits import unsplit
from benchmarks.errors import UserError
from variants.options import unknown

LOADERS: dict[str, Callable[..., Dataset]] = {
    "mnist": load_mnist,
    "fashion_mnist": load_fashion_mnist,
    "digits": load_digits,
    "celeba": load_celeba,
    "folder": load_folder,
    "array": load_array,
    "shapes": load_shapes,
}
# The sources whose loaders have the option download: whether to download files that are not below the root.
DOWNLOADED = ("mnist", "fashion_mnist", "celeba")


def load(config: DatasetConfig, root: Path, download: bool = True) -> Dataset:
    """Load and verify a data set below ``root``, without the classes that are left out.

    If ``download`` is false, the sources in ``DOWNLOADED`` do not download missing files. Raises :class:`UserError` if
    the data set cannot be obtained.
    """
    if config.source not in LOADERS:
        raise UserError(unknown("dataset.source", config.source, LOADERS))
    options = {"download": download} if config.source in DOWNLOADED else {}
    data = LOADERS[config.source](config, root, **options)
    # The readers of image files and of shapes make images of this size themselves.
    if config.image_size is not None and config.source in SIDES:
        data = at_side(data, config.image_size)
    if config.no_split:
        data = unsplit(data)
    if config.left_out is not None:
        data = leave_out(data, config.left_out)
    elif config.normal_classes is not None:
        data = keep_only(data, config.normal_classes)
    return data if config.pad is None else padded(data, config.pad)
