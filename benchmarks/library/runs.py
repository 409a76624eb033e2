"""Trained models on disk: loading them with their records, and saving them."""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.config import Config, from_plain
from benchmarks.data import Dataset, DatasetConfig, condition_shape, data_root, load
from benchmarks.environment import choose_device
from benchmarks.errors import UserError
from benchmarks.library.checks import path_of
from benchmarks.library.settings import own_settings
from benchmarks.records.record import (
    IMAGE_SHAPE,
    RECORD_FILE,
    REPRODUCTION,
    UNKNOWN_DATA,
    Record,
    RecordError,
    configuration_hash,
    read_record,
)
from benchmarks.sealed import Content, DamagedError, read_sealed, write_sealed
from benchmarks.seeding import kept_random_state
from benchmarks.sweep.cell import build
from benchmarks.training.checkpoint import WEIGHTS_FILE, checkpoint_files, fill_model, packed, unpacked
from variants import Variant

# Sub-folders of a results folder that contain runs; those with weights come first.
_PLACES = (
    "runs", f"{REPRODUCTION}/runs", "verification/runs", "tuning/runs", "reference", f"{REPRODUCTION}/reference",
)  # fmt: skip
# The key in a weights file's facts that says that `save` wrote the file.
_SAVED = "saved_model"
# The key of the SHA-256 of the data. Earlier versions did not write it.
_DATA = "data_sha256"


@dataclass(frozen=True)
class Run:
    """A trained model and how it was made, as returned by `load_run` and `fit`.

    It can be passed to every function that takes a model. ``model``: the :class:`variants.Variant`, in evaluation mode.
    ``config``: every option that it was made with. ``history``: one dictionary per epoch. ``record``: the record of a
    benchmark run with its metrics; None for a model of `fit`. ``data``: the data that `fit` trained on; None for a
    model of `load_run`. ``data_sha256``: the SHA-256 of the data that it was trained on; None if it is not known.
    """

    model: Variant
    config: Config
    history: list[dict[str, float]] = field(default_factory=list)
    record: Record | None = None
    data: Dataset | None = None
    data_sha256: str | None = None

    def __repr__(self) -> str:
        parameters = sum(parameter.numel() for parameter in self.model.parameters())
        return (
            f"<{self.config.variant_name} on {self.config.dataset.name}, {len(self.history)} epochs, seed "
            f"{self.config.seed}, {parameters:,} parameters>"
        )


@own_settings()
def load_run(run: str | Path, results: str | Path = "results", device: str = "auto") -> Run:
    """Load the trained model of a run, with its record.

    ``run`` is the folder of a run, a folder that `save` wrote, or a run id below the folder ``results``. ``device`` is
    "cpu", "cuda", or "auto", a GPU if there is one. Nothing is unpickled. Raises :class:`UserError` if there is no such
    run, or if its weights are missing, damaged, those of another run, or do not fit the current version of the variant.

    Example:
        >>> again = load_run(save(run, folder), device="cpu")
        >>> again.config.variant_name, len(again.history)
        ('vae', 2)
    """
    folder = _folder(path_of("run", run), path_of("results", results))
    content = _weights(folder)
    facts, record = content.facts, None
    try:
        if _SAVED in facts:
            record = None if facts["record"] is None else Record(**facts["record"])
            config, history = _configuration(facts["configuration"], facts["overrides"]), facts["history"]
            shape, condition = tuple(facts["image_shape"]), facts["condition_shape"]
            condition = None if condition is None else tuple(condition)
            data_sha256 = facts.get(_DATA)
        else:
            record = read_record(folder / RECORD_FILE)
            _check_identity(folder, facts, record)
            data_sha256 = None if record.data_sha256 == UNKNOWN_DATA else record.data_sha256
            config = _configuration(record.config, record.details.get("overrides", ()))
            history = facts["progress"]["history"]
            shape, condition = _shapes(config, record)
        with kept_random_state():  # the initial weights are drawn, and replaced
            model = build(config, shape, condition).to(choose(device))
        fill_model(model, unpacked(content, next(model.parameters()).device))
    except FileNotFoundError:
        raise UserError(f"{folder} has weights and no {RECORD_FILE}: its run has not ended") from None
    except UserError:
        raise
    except RecordError as error:
        raise UserError(str(error)) from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"the model in {folder} cannot be made by this version of the suite: {reason}") from error
    return Run(model.eval(), config, list(history), record, data_sha256=data_sha256)


@own_settings()
def save(run: Run, folder: str | Path) -> Path:
    """Write a trained model to ``folder``/weights.safetensors, with its configuration, history and record.

    Returns the folder, from which `load_run` loads the model. A model of the same run, with the same configuration and
    data, is replaced. Raises :class:`UserError` if the folder cannot be written, or if it contains weights or
    checkpoints of another run, or a run of the benchmark.

    Example:
        >>> load_run(save(run, folder)).config == run.config
        True
    """
    if not isinstance(run, Run):
        raise UserError(f"save expects what fit or load_run returned, got a {type(run).__name__}")
    folder = folder_of_model(folder)
    checkpoints = checkpoint_files(folder)
    if not holds_model(folder, run.config, run.data_sha256, run.history) and checkpoints:
        raise of_another_run(checkpoints[0])
    write_model(run, folder)
    return folder


def write_model(run: Run, folder: Path) -> None:
    """Write the file of `save`, also over that of another run. Raises :class:`UserError` if it cannot be written."""
    facts: dict[str, Any] = {
        _SAVED: 1,
        "configuration": run.config.resolved(),
        "overrides": list(run.config.overrides),
        "history": run.history,
        "image_shape": list(run.model.image_shape),
        "condition_shape": run.model.condition_shape and list(run.model.condition_shape),
        "record": run.record and asdict(run.record),
        _DATA: run.data_sha256,
    }
    try:
        write_sealed(folder / WEIGHTS_FILE, packed(run.model.state_dict(), facts))
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror}") from None


def holds_model(
    folder: Path, config: Config, data_sha256: str | None, history: list[dict[str, float]] | None = None
) -> bool:
    """Whether ``folder`` has the file of `save` for the run with this configuration and these data.

    If the data of one of them are not known, the histories must be equal. Raises :class:`UserError` if the folder has
    weights of another run.
    """
    path = folder / WEIGHTS_FILE
    try:
        facts = read_sealed(path).facts
    except FileNotFoundError:
        return False
    except DamagedError as error:
        raise of_another_run(path, str(error)) from None
    if _SAVED not in facts or configuration_hash(facts["configuration"]) != configuration_hash(config.resolved()):
        raise of_another_run(path)
    if facts.get(_DATA) and data_sha256:
        is_same = facts[_DATA] == data_sha256
    else:
        is_same = json.dumps(facts["history"], sort_keys=True) == json.dumps(history, sort_keys=True)
    if not is_same:
        raise of_another_run(path)
    return True


def of_another_run(path: Path, why: str = "") -> UserError:
    """The error for a file that is not overwritten."""
    reason = f" ({why})" if why else ""
    return UserError(f"{path} is not of this run{reason}: choose another folder, or delete this one")


def folder_of_model(folder: str | Path) -> Path:
    """The folder to which `save` writes a model, created if it does not exist.

    Raises :class:`UserError` if it contains a run of the benchmark, or if it cannot be created or written.
    """
    folder = path_of("folder", folder)
    try:
        if (folder / RECORD_FILE).exists():
            raise UserError(f"{folder} holds the record of a run, whose weights are kept: choose another folder")
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{folder} is a file: choose a folder")
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror}") from None
    if not os.access(folder, os.W_OK):
        raise UserError(f"{folder} cannot be written: permission denied")
    return folder


def model_of(model: Run | Variant) -> Variant:
    """The model itself, in evaluation mode.

    Raises :class:`UserError` for an argument that is neither a run nor a model, and for a model that is not
    float32.
    """
    found = model.model if isinstance(model, Run) else model
    if not isinstance(found, Variant):
        raise UserError(f"a model is expected, from load_run, fit or variants.build; got a {type(model).__name__}")
    for name, parameter in found.named_parameters():
        if parameter.dtype != torch.float32:
            raise UserError(f"the model's {name} is {parameter.dtype}; the suite uses float32 models: model.float()")
    return found.eval()


def observation_of(model: Run | Variant) -> DatasetConfig:
    """The configuration of how a model observes images: that of its run.

    Without a run, a model of binary pixels sees grey pixels after one binary draw, and other models see bytes / 255.
    """
    if isinstance(model, Run):
        return model.config.dataset
    if model.observation.binary:
        return DatasetConfig(binarise="dynamic")
    return DatasetConfig(observation="gaussian")


def device_of(model: Run | Variant) -> torch.device:
    """The device of a model's parameters."""
    return next(model_of(model).parameters()).device


def choose(device: str | torch.device) -> torch.device:
    """The device with this name. Raises :class:`UserError` if it is not available."""
    try:
        found = choose_device(str(device))
        torch.empty(0, device=found)
        if found.type not in ("cpu", "cuda"):
            raise RuntimeError("the suite runs on no other kind of device")
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split("\n")[0]
        raise UserError(f"device must be auto, cpu or cuda, got {str(device)!r} ({reason})") from None
    return found


def loaded_data(run: Run) -> Dataset:
    """The data set of a run, from memory or loaded.

    Raises :class:`UserError` if it cannot be obtained, or if it is not the one that the run was trained on.
    """
    if run.data is not None:
        return run.data
    if not run.config.dataset.source:
        raise UserError("the images that this model was trained on are not stored with it")
    data = load(run.config.dataset, data_root())
    if run.data_sha256 not in (None, data.sha256):
        raise UserError(f"{run.config.run_id} was trained on other data than those here, by their SHA-256")
    return data


def _folder(path: Path, results: Path) -> Path:
    # os.path, because the methods of a path raise an error for a name that is too long.
    if os.path.isdir(path):
        return path
    if path.name in (WEIGHTS_FILE, RECORD_FILE) and os.path.isfile(path):
        return path.parent
    name = str(path)
    found = [folder for folder in _runs(results) if folder.name == name]
    if not found:
        near = difflib.get_close_matches(name, {folder.name for folder in _runs(results)}, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UserError(f"no run {name!r}: neither a folder nor a run id in {results}{hint}")
    return next((folder for folder in found if (folder / WEIGHTS_FILE).exists()), found[0])


def _runs(results: Path) -> Iterator[Path]:
    for place in _PLACES:
        yield from sorted(path.parent for path in (results / place).glob(f"*/{RECORD_FILE}"))


def _weights(folder: Path) -> Content:
    try:
        return read_sealed(folder / WEIGHTS_FILE)
    except FileNotFoundError:
        if (folder / RECORD_FILE).exists():
            raise UserError(
                f"{folder} has a record and no weights, as published records are: `make verify RUN={folder.name}` "
                f"trains it again, and load_run({folder.name!r}) then finds it"
            ) from None
        raise UserError(f"{folder} has no {WEIGHTS_FILE}") from None
    except DamagedError as error:
        raise UserError(f"{folder / WEIGHTS_FILE} is damaged: {error}") from None


def _check_identity(folder: Path, facts: Mapping[str, Any], record: Record) -> None:
    """Raise :class:`UserError` if the weights are not those of the run of the record.

    Weights of the first versions, which do not name their run, are not checked.
    """
    of_weights = facts.get("identity") or {}
    of_record = {"configuration": configuration_hash(record.config), "data": record.data_sha256}
    for name, value in of_record.items():
        if value != UNKNOWN_DATA and of_weights.get(name, value) != value:
            raise UserError(f"{folder / WEIGHTS_FILE} is not of the run of {RECORD_FILE}: its {name} differs")


def _configuration(plain: dict[str, Any], overrides: Any) -> Config:
    return dataclasses.replace(from_plain(plain), overrides=tuple(overrides))


def _shapes(config: Config, record: Record) -> tuple[tuple[int, int, int], tuple[int, ...] | None]:
    """The shapes of an image and of its condition: from the record, the data set's configuration, or the data."""
    dataset = config.dataset
    stated = record.details.get(IMAGE_SHAPE)
    shape = dataset.shape if stated is None else (stated[0], stated[1], stated[2])
    if shape is None or dataset.condition == "label":
        data = load(dataset, data_root())
        return data.shape, condition_shape(data, dataset)
    if dataset.condition == "none":
        return shape, None
    return shape, (shape[0] + 1, *shape[1:])
