"""Files with a digest of their own content, tensors and facts, so that damage is detected.

Tensors with facts about them are stored as safetensors files, and facts alone as JSON. Reading never unpickles.
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
    """A file cannot be read or does not match its digest. The message contains only the reason."""


@dataclass(frozen=True)
class Content:
    """The content of a file: ``tensors`` by name (none in a JSON file), ``facts`` (plain JSON values) and the
    ``digest`` of both."""

    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]
    digest: str


def seal(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> Content:
    """Make the content of a file, with its digest. Tensors are copied to the CPU."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return Content(plain, dict(facts), _digest(plain, facts))


def write_sealed(path: Path, content: Content) -> None:
    """Write ``path`` atomically, as JSON if it ends in .json, otherwise as safetensors."""
    sealed = json.dumps({"facts": content.facts, "digest": content.digest}, sort_keys=True)
    # Only one metadata entry: safetensors writes several in random order, and the file would not be reproducible.
    data = sealed.encode() if path.suffix == ".json" else save(dict(content.tensors), {"sealed": sealed})
    write_atomically(path, data)


def read_sealed(path: Path) -> Content:
    """Read and verify a file. Raises ``FileNotFoundError`` if it does not exist and :class:`DamagedError` if it cannot
    be read or does not match its digest."""
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
    """Read a file that can be recreated. None if it is missing or damaged; a damaged file is logged."""
    try:
        return read_sealed(path)
    except FileNotFoundError:
        return None
    except DamagedError as error:
        log.warning("%s is damaged (%s): recreating it", path, error)
        return None


def write_cached(path: Path, content: Content) -> None:
    """Like :func:`write_sealed`, but an ``OSError`` is only logged: the content is recreated next time."""
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
    """SHA-256 over the facts and over names, types, shapes and bytes of the tensors."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
