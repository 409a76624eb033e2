"""Checkpoints: safetensors files that carry a digest of their own content; loading never unpickles."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from benchmarks.files import write_atomically

log = logging.getLogger(__name__)

_NAME = re.compile(r"checkpoint-(\d+)\.safetensors")
# The newest and the one before it, to fall back to.
KEPT = 2


def save_checkpoint(folder: Path, epoch: int, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Write the state after ``epoch`` epochs atomically, and remove all but the newest ones."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {"facts": json.dumps(facts, sort_keys=True), "digest": _digest(plain)}
    write_atomically(folder / f"checkpoint-{epoch:06d}.safetensors", save(plain, metadata))
    for path in _checkpoints(folder)[:-KEPT]:
        path.unlink(missing_ok=True)


def load_checkpoint(folder: Path, device: torch.device) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The newest checkpoint that is whole, or None. A damaged one is passed over with a message."""
    for path in reversed(_checkpoints(folder)):
        try:
            with safe_open(path, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
                metadata = file.metadata() or {}
            if metadata["digest"] != _digest(tensors):
                raise ValueError("its content does not match its digest")
            facts = json.loads(metadata["facts"])
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            log.warning("%s is damaged (%s); falling back to the one before it", path, error)
            continue
        return {name: tensor.to(device) for name, tensor in tensors.items()}, facts
    return None


def remove_checkpoints(folder: Path) -> None:
    """Remove all checkpoints of a run."""
    for path in _checkpoints(folder):
        path.unlink(missing_ok=True)


def save_weights(folder: Path, state: dict[str, Tensor]) -> None:
    """Write the weights that were evaluated to ``weights.safetensors``."""
    write_atomically(folder / "weights.safetensors", save({k: v.detach().cpu().contiguous() for k, v in state.items()}))


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("checkpoint-*.safetensors") if _NAME.fullmatch(path.name))


def _digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
