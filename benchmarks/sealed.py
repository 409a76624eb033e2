"""Files with a digest of their own content, tensors and facts alike: a flipped bit or a missing part is noticed.

Tensors with facts about them are safetensors files, facts alone JSON. Reading never unpickles.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from benchmarks.files import write_atomically

log = logging.getLogger(__name__)


class DamagedError(ValueError):
    """A file whose content does not match its digest, or that has none; the message is the reason alone."""


@dataclass(frozen=True)
class Content:
    """What a file holds: ``tensors`` by name (none in a JSON file), ``facts`` (plain JSON values), and the digest of
    both."""

    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]
    digest: str


def seal(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> Content:
    """The content with its digest; tensors come to the CPU."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return Content(plain, dict(facts), _digest(plain, facts))


def write_sealed(path: Path, content: Content) -> None:
    """Write ``path`` atomically: JSON where its name says so, else safetensors."""
    sealed = json.dumps({"facts": content.facts, "digest": content.digest}, sort_keys=True)
    # One entry of metadata: several stand in another order at every call, and the file would not be the same twice.
    data = sealed.encode() if path.suffix == ".json" else save(dict(content.tensors), {"sealed": sealed})
    write_atomically(path, data)


def read_sealed(path: Path) -> Content:
    """The content of a file. Raises ``FileNotFoundError`` where there is none and :class:`DamagedError` where it is not
    what was written."""
    try:
        tensors, sealed = _json(path) if path.suffix == ".json" else _safetensors(path)
        whole = json.loads(sealed)
        facts, digest = whole["facts"], whole["digest"]
        found = _digest(tensors, facts)
    except FileNotFoundError:
        raise
    except (OSError, SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise DamagedError(f"it cannot be read: {type(error).__name__}: {reason}") from error
    if found != digest:
        raise DamagedError("its content does not match its digest, or an earlier version wrote it")
    return Content(tensors, facts, found)


def read_cached(path: Path) -> Content | None:
    """The content of a file that can be made again, or None where it must be: a damaged one is named in the log."""
    try:
        return read_sealed(path)
    except FileNotFoundError:
        return None
    except DamagedError as error:
        log.warning("%s is damaged (%s): recreating it", path, error)
        return None


def write_cached(path: Path, content: Content) -> None:
    """As :func:`write_sealed`; a folder that takes no file costs time at the next start, not this run."""
    try:
        write_sealed(path, content)
    except OSError as error:
        log.warning("%s cannot be written (%s): it will be recreated next time", path, error.strerror or error)


def _safetensors(path: Path) -> tuple[dict[str, Tensor], str]:
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        return tensors, (file.metadata() or {})["sealed"]


def _json(path: Path) -> tuple[dict[str, Tensor], str]:
    return {}, path.read_text(encoding="utf-8")


def _digest(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> str:
    """SHA-256 over names, types, shapes and bytes of the tensors, and over the facts."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
