"""The judges and teachers that come with the suite, so that all machines measure distances in the same features."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from benchmarks.errors import UserError
from benchmarks.sealed import Content, DamagedError, read_sealed

WEIGHTS = Path(__file__).parent / "weights"
# Data sets whose terms permit distributing networks that were trained on them.
SOURCES = ("mnist", "fashion_mnist", "digits")
Role = Literal["judge", "teacher"]
ROLES: tuple[Role, ...] = ("judge", "teacher")


def shipped_path(role: Role, source: str) -> Path:
    """The file of a network.

    It has weights in half precision and the facts ``data`` (the SHA-256 of the data set), ``accuracy`` (on the test
    split) and ``recipe``.
    """
    return WEIGHTS / f"{role}-{source}.safetensors"


def shipped(role: Role, data_sha256: str) -> tuple[str, Content] | None:
    """The name and the content of the network that was trained on these data, or None if none is shipped.

    All boards of a data set use the same network, because the digest of the data does not depend on the binarisation.
    Raises :class:`UserError` for a damaged or missing file.
    """
    for source in SOURCES:
        key, content = shipped_file(role, source)
        if content.facts["data"] == data_sha256:
            return key, content
    return None


def shipped_file(role: Role, source: str) -> tuple[str, Content]:
    """The name and the content of the network for the data set ``source``. Raises :class:`UserError` for a damaged or
    missing file."""
    return shipped_path(role, source).stem, _read(role, source)


def check_shipped() -> None:
    """Raise :class:`UserError`, naming the first one, if a shipped network is damaged or missing."""
    for source in SOURCES:
        for role in ROLES:
            _read(role, source)


def _read(role: Role, source: str) -> Content:
    path = shipped_path(role, source)
    try:
        return read_sealed(path)
    except (FileNotFoundError, DamagedError) as error:
        reason = "is missing" if isinstance(error, FileNotFoundError) else f"is damaged ({error})"
        raise UserError(
            f"{path} {reason}: reinstall the suite or restore the file from its repository (`make judges "
            f"DATASETS={source}` trains another one, whose distances are not comparable with published ones)"
        ) from error
