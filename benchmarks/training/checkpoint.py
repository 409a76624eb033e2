"""Files of a run: checkpoints during training, and the trained weights afterwards.

They are sealed safetensors files: each contains a digest of its own content, and loading never unpickles. Each also
contains digests of the configuration, the code and the data set, so that no run continues from weights that belong to
others.
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
# Number of checkpoints kept: the newest, and the previous one as a fallback.
KEPT = 2
# Appended to the name of a file that cannot be used.
UNUSABLE = ".unusable"

T = TypeVar("T")


@dataclass
class Progress:
    """The progress of training, which a checkpoint stores together with the weights.

    ``epoch``, ``step`` and ``images`` count what has been trained so far. ``best_score`` is the best validation score,
    reached after ``best_step`` steps; ``no_better`` is the number of validations since then. ``resumed`` lists the
    epochs after which training was interrupted and continued. ``notes`` are warnings for the record. ``measured``
    contains the numbers measured during training, for example "objective@5". ``compiled``: whether the training steps
    were compiled. ``earlier_seconds`` is the part of ``train_seconds`` that was spent in earlier processes.
    """

    epoch: int = 0
    train_seconds: float = 0.0
    earlier_seconds: float = 0.0
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
    """What is stored with the weights of a trained run. ``calibrated``: whether the observation model is also fitted.
    ``details``: entries that training adds to the record's details."""

    progress: Progress
    calibrated: bool
    details: dict[str, Any]


class Checkpoints:
    """The checkpoints and the trained weights of one run, in its folder.

    If a file is damaged or its content does not fit, it is renamed to <name>.unusable, with a warning, and the previous
    one is used instead. If a file belongs to another configuration, code or data set, or was trained with another
    ``teacher`` (the description of the network whose features the loss compares; None without one), training restarts
    from the beginning, with a warning. Errors of the device, such as ``torch.OutOfMemoryError``, are raised, because
    they say nothing about the file.
    """

    def __init__(self, folder: Path, identity: Identity, device: torch.device) -> None:
        self.folder, self.identity, self.device = folder, identity, device
        self.teacher: str | None = None
        # Files that were read but not used yet: `threads` needs a checkpoint before its weights are loaded, and the
        # file is read only once.
        self._read: dict[Path, Content] = {}

    def threads(self) -> int | None:
        """The number of threads with which the run started and which it keeps; None if the run has not started."""
        for path in (self.folder / WEIGHTS_FILE, *self._newest_first()):
            if (content := self._content(path)) is not None:
                with contextlib.suppress(KeyError, TypeError, ValueError):
                    return max(1, int(content.facts["made_on"]["threads"]))
        return None

    def save(
        self, model: nn.Module, optimisers: Mapping[str, Optimizer], best: Mapping[str, Tensor], done: Progress
    ) -> None:
        """Write the current state, and remove all but the newest checkpoints."""
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
        """Load model, optimisers and best weights from the newest usable checkpoint; None if there is none."""

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
            content = self._content(path)
            if content is not None and content.facts.get("teacher") != self.teacher:
                self._restart(path, "the teacher network changed since it was written")
                return None
            if (done := self._used(path, fill)) is not None:
                return done
        if any(_unusable(self.folder)):
            log.warning(
                "%s: none of its checkpoints can be used: training restarts from the beginning", self.folder.name
            )
        return None

    def save_weights(self, model: nn.Module, trained: Trained) -> None:
        """Write the weights of a trained run under the names of its state dict, with what the evaluation needs."""
        self._write(self.folder / WEIGHTS_FILE, model.state_dict(), asdict(trained))

    def load_weights(self, model: nn.Module) -> Trained | None:
        """Load the weights of this run into ``model``; None if there are no usable trained weights."""

        def fill(tensors: dict[str, Tensor], facts: Mapping[str, Any]) -> Trained:
            trained = Trained(Progress(**facts["progress"]), bool(facts["calibrated"]), dict(facts["details"]))
            fill_model(model, tensors)
            return trained

        return self._used(self.folder / WEIGHTS_FILE, fill)

    def remove(self) -> None:
        """Remove all checkpoints, but not the trained weights."""
        remove_checkpoints(self.folder)

    def _write(self, path: Path, tensors: Mapping[str, Tensor], facts: dict[str, Any]) -> None:
        made_on = {"identity": asdict(self.identity), "made_on": numerics(self.device), "teacher": self.teacher}
        write_sealed(path, packed(tensors, facts | made_on))

    def _newest_first(self) -> Iterator[Path]:
        return reversed(checkpoint_files(self.folder))

    def _content(self, path: Path) -> Content | None:
        """The content of ``path`` if it is undamaged and belongs to this run, otherwise None."""
        if path not in self._read:
            try:
                content = read_sealed(path)
            except FileNotFoundError:
                return None
            except DamagedError as error:
                self._pass_over(path, f"is damaged ({error})")
                return None
            if (why := self.identity.difference(content.facts.get("identity"))) is not None:
                self._restart(path, why)
                return None
            self._read[path] = content
        return self._read[path]

    def _restart(self, path: Path, why: str) -> None:
        """Remove ``path``, which cannot be used for the reason ``why``, and all checkpoints."""
        log.warning("%s/%s: %s: training restarts from the beginning", self.folder.name, path.name, why)
        # Earlier checkpoints cannot be used either, and would count as newer than those of the new start.
        remove_checkpoints(self.folder)
        path.unlink(missing_ok=True)
        self._read.clear()

    def _used(self, path: Path, fill: Callable[[dict[str, Tensor], Mapping[str, Any]], T]) -> T | None:
        """The result of ``fill`` for a file's tensors and facts; None if the file cannot be used."""
        if (content := self._content(path)) is None:
            return None
        self._read.clear()
        try:
            return fill(unpacked(content, self.device), content.facts)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            self._pass_over(path, f"cannot be used ({type(error).__name__}: {error})")
            return None

    def _pass_over(self, path: Path, why: str) -> None:
        log.warning("%s/%s %s: it is not used", self.folder.name, path.name, why)
        # Under its own name, it could count as newer than checkpoints that are written from now on. It is not removed,
        # because a disk may fail to read a good file.
        with contextlib.suppress(OSError):
            path.replace(path.with_name(path.name + UNUSABLE))

    def _note_resumption(self, done: Progress, made_on: Mapping[str, Any]) -> None:
        done.resumed.append(done.epoch)
        done.earlier_seconds = done.train_seconds
        now = numerics(self.device)
        other = [f"{key} {now[key]} instead of {made_on[key]}" for key in now if made_on[key] != now[key]]
        if other:
            done.notes.append(f"training was resumed after epoch {done.epoch} with {', '.join(other)}")


def packed(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> Content:
    """The content of a file with a state and facts about it. A tensor with several names is stored once."""
    distinct, shared = _distinct(tensors)
    return seal(distinct, {**facts, "shared": shared})


def unpacked(content: Content, device: torch.device) -> dict[str, Tensor]:
    """The state in a file made by :func:`packed`, on ``device``. Raises ``KeyError`` for any other file."""
    tensors = {name: tensor.to(device) for name, tensor in content.tensors.items()}
    return tensors | {name: tensors[of] for name, of in content.facts["shared"].items()}


def remove_checkpoints(folder: Path) -> None:
    """Remove all checkpoints of a run, and those that could not be used."""
    for path in (*checkpoint_files(folder), *_unusable(folder)):
        path.unlink(missing_ok=True)


def copied(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A copy of a state. Names that share a tensor also share its copy."""
    copies: dict[object, Tensor] = {}
    return {name: copies.setdefault(_place(tensor), tensor.clone()) for name, tensor in state.items()}


def checkpoint_files(folder: Path) -> list[Path]:
    """The checkpoints in the folder of a run, the oldest first."""
    found = {path: name for path in folder.glob("checkpoint-*.safetensors") if (name := _NAME.fullmatch(path.name))}
    return sorted(found, key=lambda path: int(found[path][1]))


def _unusable(folder: Path) -> Iterator[Path]:
    return folder.glob(f"checkpoint-*{UNUSABLE}")


def _distinct(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return every tensor once, and a mapping from the further names of a tensor (tied weights, a module registered
    twice) to the name under which it is stored. The file format refuses tensors that share memory."""
    first: dict[object, str] = {}
    shared: dict[str, str] = {}
    distinct: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        kept = first.setdefault(_place(tensor), name)
        if kept != name:
            shared[name] = kept
            continue
        # A view of a part of a storage is copied, because other tensors may share that storage.
        whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
        distinct[name] = tensor if whole else tensor.clone(memory_format=torch.contiguous_format)
    return distinct, shared


def _place(tensor: Tensor) -> object:
    """A key that is equal only for the same tensor. Empty tensors have no memory and are always distinct."""
    if not tensor.numel():
        return object()
    return tensor.device, tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride()


def fill_model(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Load a state. Raises ``ValueError`` before anything is loaded if names or shapes do not match the model."""
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
