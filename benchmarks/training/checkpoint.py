"""What a run keeps on the disk: checkpoints while it trains, and its weights from then on.

Sealed safetensors files: each carries a digest of its own content, and loading never unpickles. Each says what it
belongs to, so that no run goes on from the weights of another code, configuration or data set.
"""

from __future__ import annotations

import contextlib
import logging
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from benchmarks.environment import numerics
from benchmarks.sealed import Content, DamagedError, read_sealed, seal, write_sealed
from benchmarks.training.identity import Identity

log = logging.getLogger(__name__)

WEIGHTS_FILE = "weights.safetensors"
_NAME = re.compile(r"checkpoint-(\d+)\.safetensors")
# The newest and the one before it, to fall back to.
KEPT = 2

T = TypeVar("T")


@dataclass
class Progress:
    """What training has done so far, and what a checkpoint holds beside the weights. ``resumed``: the epochs after
    which it was interrupted and went on. ``notes``: what is worth a warning in the record. ``step`` and ``images``: how
    many it has trained on. ``no_better``: validations since the one after ``best_step``. ``measured``: numbers at
    points on the way, "objective@5". ``compiled``: whether its steps were compiled."""

    epoch: int = 0
    train_seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    best_score: float = -math.inf
    best_step: int = 0
    resumed: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    step: int = 0
    images: int = 0
    no_better: int = 0
    measured: dict[str, float] = field(default_factory=dict)
    compiled: bool = False


@dataclass
class Trained:
    """What belongs to the weights of a run that has been trained. ``calibrated``: whether the observation model is
    fitted, too. ``details``: facts for the record that training found."""

    progress: Progress
    calibrated: bool
    details: dict[str, Any]


class Checkpoints:
    """The checkpoints and the trained weights of one run, in its folder.

    A file that is damaged or cannot be used is passed over, with a message, for the one before it. Where the newest one
    belongs to another configuration, code or data set, training restarts from the beginning and says so.
    """

    def __init__(self, folder: Path, identity: Identity, device: torch.device) -> None:
        self.folder, self.identity, self.device = folder, identity, device
        # What was read and not yet used: a checkpoint is read once, though its threads are wanted before its weights.
        self._read: dict[Path, Content] = {}

    def threads(self) -> int | None:
        """On how many threads the run began, which are its to the end; None for one that has not begun."""
        for path in (self.folder / WEIGHTS_FILE, *self._newest_first()):
            if (content := self._content(path)) is not None:
                with contextlib.suppress(KeyError, TypeError, ValueError):
                    return max(1, int(content.facts["made_on"]["threads"]))
        return None

    def save(
        self, model: nn.Module, optimisers: Mapping[str, Optimizer], best: Mapping[str, Tensor], done: Progress
    ) -> None:
        """Write the state after an epoch, and remove all but the newest checkpoints."""
        tensors = {f"model/{name}": tensor for name, tensor in model.state_dict().items()}
        tensors |= {f"best/{name}": tensor for name, tensor in best.items()}
        for name, optimiser in optimisers.items():
            for index, state in optimiser.state_dict()["state"].items():
                tensors |= {f"optimiser/{name}/{index}/{key}": value for key, value in state.items()}
        self._write(self.folder / f"checkpoint-{done.epoch:06d}.safetensors", tensors, {"progress": asdict(done)})
        for path in list(self._newest_first())[KEPT:]:
            path.unlink(missing_ok=True)

    def restore(
        self, model: nn.Module, optimisers: Mapping[str, Optimizer], best: dict[str, Tensor]
    ) -> Progress | None:
        """Fill model, optimisers and best weights from the newest checkpoint that can be used; None without one."""

        def fill(tensors: dict[str, Tensor], facts: Mapping[str, Any]) -> Progress:
            done = Progress(**facts["progress"])
            parts = {name: _grouped(tensors, f"optimiser/{name}/") for name in optimisers}
            fill_model(model, _below(tensors, "model/"))
            for name, optimiser in optimisers.items():
                groups = optimiser.state_dict()["param_groups"]
                optimiser.load_state_dict({"state": parts[name], "param_groups": groups})
            best.update(_below(tensors, "best/"))
            self._note_resumption(done, facts["made_on"])
            return done

        for path in self._newest_first():
            if (done := self._used(path, fill)) is not None:
                return done
        return None

    def save_weights(self, model: nn.Module, trained: Trained) -> None:
        """Write the weights of a trained run, under their own names, with what evaluating them takes."""
        self._write(self.folder / WEIGHTS_FILE, model.state_dict(), asdict(trained))

    def load_weights(self, model: nn.Module) -> Trained | None:
        """Fill ``model`` with the weights of this run; None where it has not been trained to the end."""

        def fill(tensors: dict[str, Tensor], facts: Mapping[str, Any]) -> Trained:
            trained = Trained(Progress(**facts["progress"]), bool(facts["calibrated"]), dict(facts["details"]))
            fill_model(model, tensors)
            return trained

        return self._used(self.folder / WEIGHTS_FILE, fill)

    def remove(self) -> None:
        """Remove all checkpoints; weights stay."""
        remove_checkpoints(self.folder)

    def _write(self, path: Path, tensors: Mapping[str, Tensor], facts: dict[str, Any]) -> None:
        made_on = {"identity": asdict(self.identity), "made_on": numerics(self.device)}
        write_sealed(path, packed(tensors, facts | made_on))

    def _newest_first(self) -> Iterator[Path]:
        return reversed(_checkpoints(self.folder))

    def _content(self, path: Path) -> Content | None:
        """What ``path`` holds, if that is whole and this run's."""
        if path not in self._read:
            try:
                content = read_sealed(path)
            except FileNotFoundError:
                return None
            except DamagedError as error:
                self._pass_over(path, f"is damaged ({error})")
                return None
            if (why := self.identity.difference(content.facts.get("identity"))) is not None:
                log.warning("%s/%s: %s: training restarts from the beginning", self.folder.name, path.name, why)
                # Those before it are no better, and would be taken for newer ones than those of the new start.
                remove_checkpoints(self.folder)
                path.unlink(missing_ok=True)
                return None
            self._read[path] = content
        return self._read[path]

    def _used(self, path: Path, fill: Callable[[dict[str, Tensor], Mapping[str, Any]], T]) -> T | None:
        """What ``fill`` makes of a file's tensors and facts; None where it cannot be used."""
        if (content := self._content(path)) is None:
            return None
        self._read.clear()
        try:
            return fill(unpacked(content, self.device), content.facts)
        except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
            self._pass_over(path, f"cannot be used ({type(error).__name__}: {error})")
            return None

    def _pass_over(self, path: Path, why: str) -> None:
        rest = "using the previous one" if path.name != WEIGHTS_FILE else "using the last checkpoint"
        log.warning("%s/%s %s; %s", self.folder.name, path.name, why, rest)
        # It would count as the newest, and what is written from now on as older.
        with contextlib.suppress(OSError):
            path.unlink()

    def _note_resumption(self, done: Progress, made_on: Mapping[str, Any]) -> None:
        done.resumed.append(done.epoch)
        now = numerics(self.device)
        other = [f"{key} {now[key]} instead of {made_on[key]}" for key in now if made_on[key] != now[key]]
        if other:
            done.notes.append(f"training was resumed after epoch {done.epoch} with {', '.join(other)}")


def packed(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> Content:
    """A state and facts about it as the content of a file: tensors that share memory are in it once."""
    distinct, shared = _distinct(tensors)
    return seal(distinct, {**facts, "shared": shared})


def unpacked(content: Content, device: torch.device) -> dict[str, Tensor]:
    """The state in a file that :func:`packed` made, on ``device``. Raises ``KeyError`` for another file."""
    tensors = {name: tensor.to(device) for name, tensor in content.tensors.items()}
    return tensors | {name: tensors[of] for name, of in content.facts["shared"].items()}


def remove_checkpoints(folder: Path) -> None:
    """Remove all checkpoints of a run."""
    for path in _checkpoints(folder):
        path.unlink(missing_ok=True)


def copied(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A copy of a state in which tensors that are one stay one."""
    copies: dict[object, Tensor] = {}
    return {name: copies.setdefault(_place(tensor), tensor.clone()) for name, tensor in state.items()}


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("checkpoint-*.safetensors") if _NAME.fullmatch(path.name))


def _distinct(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Every tensor once, and for further names of one (tied weights, a module that is listed twice) the name under
    which it is there. The file format refuses tensors that share memory."""
    first: dict[object, str] = {}
    shared: dict[str, str] = {}
    distinct: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        kept = first.setdefault(_place(tensor), name)
        if kept != name:
            shared[name] = kept
            continue
        # A part of a larger tensor shares memory with the other parts.
        whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
        distinct[name] = tensor if whole else tensor.clone(memory_format=torch.contiguous_format)
    return distinct, shared


def _place(tensor: Tensor) -> object:
    """Equal for names of one tensor alone; an empty one has no place of its own."""
    if not tensor.numel():
        return object()
    return tensor.device, tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride()


def fill_model(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Load a state, or raise before anything is loaded."""
    expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
    if expected != {name: tensor.shape for name, tensor in tensors.items()}:
        raise ValueError("its tensors do not match the model")
    model.load_state_dict(tensors)


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _grouped(tensors: Mapping[str, Tensor], prefix: str) -> dict[int, dict[str, Tensor]]:
    state: dict[int, dict[str, Tensor]] = {}
    for path, tensor in _below(tensors, prefix).items():
        index, _, key = path.partition("/")
        state.setdefault(int(index), {})[key] = tensor
    return state
