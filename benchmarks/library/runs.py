"""Trained models on disk: loading them with their records, and saving them."""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.config import Config, from_plain
from benchmarks.data import Dataset, DatasetConfig, condition_shape, data_root, load
from benchmarks.environment import choose_device
from benchmarks.errors import UserError
from benchmarks.records.record import IMAGE_SHAPE, RECORD_FILE, REPRODUCTION, Record, RecordError, read_record
from benchmarks.sealed import Content, DamagedError, read_sealed, write_sealed
from benchmarks.sweep.cell import build
from benchmarks.training.checkpoint import WEIGHTS_FILE, fill_model, packed, unpacked
from variants import Variant

# Sub-folders of a results folder that contain runs; those with weights come first.
_PLACES = (
    "runs", f"{REPRODUCTION}/runs", "verification/runs", "tuning/runs", "reference", f"{REPRODUCTION}/reference",
)  # fmt: skip
# The key in a weights file's facts that says that `save` wrote the file.
_SAVED = "saved_model"


@dataclass(frozen=True)
class Run:
    """A trained model and how it was made, as returned by `load_run` and `fit`.

    It can be passed to every function that takes a model. ``model``: the :class:`variants.Variant`, in evaluation mode.
    ``config``: every option that it was made with. ``history``: one dictionary per epoch. ``record``: the record of a
    benchmark run with its metrics; None for a model of `fit`. ``data``: the data that `fit` trained on; None for a
    model of `load_run`.
    """

    model: Variant
    config: Config
    history: list[dict[str, float]] = field(default_factory=list)
    record: Record | None = None
    data: Dataset | None = None

    def __repr__(self) -> str:
        parameters = sum(parameter.numel() for parameter in self.model.parameters())
        return (
            f"<{self.config.variant_name} on {self.config.dataset.name}, {len(self.history)} epochs, seed "
            f"{self.config.seed}, {parameters:,} parameters>"
        )


def load_run(run: str | Path, results: str | Path = "results", device: str = "auto") -> Run:
    """Load the trained model of a run, with its record.

    ``run`` is the folder of a run, a folder that `save` wrote, or a run id below the folder ``results``. ``device`` is
    "cpu", "cuda", or "auto", a GPU if there is one. Nothing is unpickled. Raises :class:`UserError` if there is no such
    run, or if its weights are missing, damaged, or do not fit the current version of the variant.

    Example:
        >>> again = load_run(save(run, folder), device="cpu")
        >>> again.config.variant_name, len(again.history)
        ('vae', 2)
    """
    folder = _folder(run, Path(results))
    content = _weights(folder)
    facts, record = content.facts, None
    try:
        if _SAVED in facts:
            record = None if facts["record"] is None else Record(**facts["record"])
            config, history = _configuration(facts["configuration"], facts["overrides"]), facts["history"]
            shape, condition = tuple(facts["image_shape"]), facts["condition_shape"]
            condition = None if condition is None else tuple(condition)
        else:
            record = read_record(folder / RECORD_FILE)
            config = _configuration(record.config, record.details.get("overrides", ()))
            history = facts["progress"]["history"]
            shape, condition = _shapes(config, record)
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
    return Run(model.eval(), config, list(history), record)


def save(run: Run, folder: str | Path) -> Path:
    """Write a trained model to ``folder``/weights.safetensors, with its configuration, history and record.

    Returns the folder, from which `load_run` loads the model. Raises :class:`UserError` if the folder cannot be
    written, or if it contains a run of the benchmark.

    Example:
        >>> load_run(save(run, folder)).config == run.config
        True
    """
    if not isinstance(run, Run):
        raise UserError(f"save expects what fit or load_run returned, got a {type(run).__name__}")
    folder = folder_of_model(folder)
    facts: dict[str, Any] = {
        _SAVED: 1,
        "configuration": run.config.resolved(),
        "overrides": list(run.config.overrides),
        "history": run.history,
        "image_shape": list(run.model.image_shape),
        "condition_shape": run.model.condition_shape and list(run.model.condition_shape),
        "record": run.record and asdict(run.record),
    }
    try:
        write_sealed(folder / WEIGHTS_FILE, packed(run.model.state_dict(), facts))
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror}") from None
    return folder


def folder_of_model(folder: str | Path) -> Path:
    """The folder to which `save` writes a model, created if it does not exist.

    Raises :class:`UserError` if it contains a run of the benchmark, or if it cannot be created or written.
    """
    folder = Path(folder).expanduser()
    if (folder / RECORD_FILE).exists():
        raise UserError(f"{folder} holds the record of a run, whose weights stay as they are: choose another folder")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file: choose a folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror}") from None
    if not os.access(folder, os.W_OK):
        raise UserError(f"{folder} cannot be written: permission denied")
    return folder


def model_of(model: Run | Variant) -> Variant:
    """The model itself, in evaluation mode.

    Raises :class:`UserError` for an argument that is neither a run nor a model.
    """
    found = model.model if isinstance(model, Run) else model
    if not isinstance(found, Variant):
        raise UserError(f"a model is expected, from load_run, fit or variants.build; got a {type(model).__name__}")
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
    if run.record is not None and data.sha256 != run.record.data_sha256:
        raise UserError(f"{run.record.run_id} was made from other data than those here, by their SHA-256")
    return data


def _folder(run: str | Path, results: Path) -> Path:
    path = Path(run).expanduser()
    if path.is_dir():
        return path
    if path.name in (WEIGHTS_FILE, RECORD_FILE) and path.is_file():
        return path.parent
    name = str(run)
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
