"""Checkpoints: safetensors files that carry a digest of their own content; loading never unpickles."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from benchmarks.files import write_atomically
from benchmarks.sealed import DamagedError, read_sealed, seal, write_sealed

log = logging.getLogger(__name__)

_NAME = re.compile(r"checkpoint-(\d+)\.safetensors")
# The newest and the one before it, to fall back to.
KEPT = 2


def save_checkpoint(folder: Path, epoch: int, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Write the state after ``epoch`` epochs atomically, and remove all but the newest ones."""
    write_sealed(folder / f"checkpoint-{epoch:06d}.safetensors", seal(tensors, facts))
    for path in _checkpoints(folder)[:-KEPT]:
        path.unlink(missing_ok=True)


def load_checkpoint(folder: Path, device: torch.device) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The newest checkpoint that is whole, or None. A damaged one is passed over with a message."""
    for path in reversed(_checkpoints(folder)):
        try:
            content = read_sealed(path)
        except (OSError, DamagedError) as error:
            log.warning("%s is damaged (%s); falling back to the one before it", path, error)
            continue
        return {name: tensor.to(device) for name, tensor in content.tensors.items()}, dict(content.facts)
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
