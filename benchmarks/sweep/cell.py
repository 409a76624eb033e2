"""One cell: one variant on one data set under one profile with one seed, from configuration to record."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import variants
from benchmarks.config import Config
from benchmarks.data import (
    Dataset,
    condition_shape,
    observe_condition,
    observe_evaluation,
    observe_training,
    place,
    training_images,
)
from benchmarks.environment import describe, peak_memory, reset_peak_memory
from benchmarks.errors import UserError
from benchmarks.evaluation import latent_pictures, pictures
from benchmarks.evaluation.evaluate import Evaluation, EvaluationData, evaluate, validation_score
from benchmarks.evaluation.features.inception import WeightsUnavailableError
from benchmarks.evaluation.features.spaces import FeatureSpace, inception_space, judge_space
from benchmarks.evaluation.judges.shipped import check_shipped
from benchmarks.evaluation.representation import subset
from benchmarks.records.record import RECORD_FILE, Record, RecordError, read_record, write_record
from benchmarks.seeding import seed_everything
from benchmarks.sweep.locks import cell_lock
from benchmarks.training.calibration import fit_observation
from benchmarks.training.checkpoint import remove_checkpoints, save_weights
from benchmarks.training.loop import DivergenceError, tensor_float_32, train, write_history
from benchmarks.training.teacher import teacher
from benchmarks.training.tracking import tracker
from variants import Variant
from variants.parts.observations import observation_model

log = logging.getLogger(__name__)

# Training images on which the scale of an untrained observation model is fitted.
CALIBRATION_IMAGES = 5000


def build(config: Config, image_shape: tuple[int, int, int], condition: tuple[int, ...] | None = None) -> Variant:
    """The variant of a configuration, its weights drawn from the cell's seed, for images whose
    condition has the shape ``condition``."""
    seed_everything(config.seed, "initialisation")
    cls, data = variants.lookup(config.variant_name), config.dataset
    observation = observation_model(data.observation, image_shape, data.scale, cls.trains_observation)
    return cls(config.variant, image_shape, config.network, observation, condition)


@dataclass(frozen=True)
class Setting:
    """Where and how cells are run; nothing here affects a result.

    ``results`` and ``data_root``: folders. ``cache``: the folder of networks that serve every cell of a data set.
    ``tracker``: what is told of every epoch (see :mod:`benchmarks.training.tracking`). ``skip_published``: whether a
    sweep counts a cell as done that has no local record but a published one.
    """

    results: Path
    data_root: Path
    cache: Path
    device: torch.device
    tracker: str = "none"
    show_progress: bool = True
    skip_published: bool = False

    def run_folder(self, config: Config) -> Path:
        return self.results / "runs" / config.run_id


def finished(config: Config, setting: Setting) -> Record | None:
    """The record of a cell that has run, well or badly; None where there is none that can be read. One that cannot be
    is set aside, so that the cell is run again."""
    path = setting.run_folder(config) / RECORD_FILE
    try:
        return read_record(path)
    except FileNotFoundError:
        return None
    except RecordError as error:
        target = path.with_name(path.name + ".unreadable")
        path.rename(target)
        log.warning("set aside as %s: %s", target.name, error)
        return None


def run_once(config: Config, setting: Setting, load: Callable[[], Dataset], retry: bool = False) -> Record:
    """The record of a cell, from the disk or by running it now; with ``retry`` one that ended badly is run again.

    Raises :class:`benchmarks.locks.LockedError` where another process runs it.
    """
    with cell_lock(setting.run_folder(config)):
        # Another sweep may have finished it since it was planned.
        record = finished(config, setting)
        if record is not None and (record.status == "ok" or not retry):
            return record
        (setting.run_folder(config) / RECORD_FILE).unlink(missing_ok=True)
        try:
            data = load()
        except UserError as error:
            return write_failure(config, setting, "DataMissing", str(error))
        return run_cell(config, data, setting)


def run_cell(config: Config, data: Dataset, setting: Setting) -> Record:
    """Train, evaluate and record one cell; what goes wrong is in the record's ``error``.

    An interrupt is not caught: the cell then has no record, and goes on from its checkpoint when it is run again. So
    does one that failed, when it is retried.
    """
    folder = setting.run_folder(config)
    folder.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    reset_peak_memory(setting.device)
    details: dict[str, Any] = {"overrides": list(config.overrides), "data_title": data.title}
    outcome: dict[str, Any] = {}
    try:
        with tensor_float_32(False):
            outcome = _train_and_evaluate(config, data, folder, setting, details)
        outcome["status"] = "ok"
    except DivergenceError as error:
        outcome |= {"status": "diverged", "error": _described(error)}
    except Exception as error:
        log.error("%s failed: %s: %s", config.run_id, type(error).__name__, error)
        outcome |= {"status": "failed", "error": _described(error)}
    timing = {**outcome.pop("timing", {}), "total_seconds": time.perf_counter() - started}
    details["peak_memory_bytes"] = peak_memory(setting.device)
    record = _store(setting, config, _record(config, setting.device, data.sha256, timing, details, outcome))
    if record.status != "failed":
        remove_checkpoints(folder)
    return record


def _train_and_evaluate(
    config: Config,
    data: Dataset,
    folder: Path,
    setting: Setting,
    details: dict[str, Any],
) -> dict[str, Any]:
    """The fields of the record that a cell earns by ending well; facts go into ``details`` as they are found."""
    # The judge is needed after training; found damaged then, it would cost the whole of it.
    check_shipped()
    cache, device = setting.cache, setting.device
    variant = build(config, data.shape, condition_shape(data, config.dataset)).to(device)
    images = place(training_images(data.train.images, config.dataset), device)
    labels = None if data.train.labels is None else data.train.labels.to(images.device)
    validation = observe_evaluation(data.validation.images, config.dataset, config.training.validation_images)
    validation = validation.to(device)
    given = observe_condition(validation, data.validation.labels, config.dataset, variant.condition_shape)

    def validate(model: Variant) -> dict[str, float]:
        return validation_score(model, validation, config.seed, config.training.validation_samples, given)

    if variant.needs_teacher:
        network, details["teacher"] = teacher(data, cache, device)
        variant.use_teacher(network)
    with tensor_float_32(config.training.precision != "fp32"):
        done = train(
            variant, images, config.dataset, config.training, config.seed, validate, folder, setting.show_progress,
            tracker(setting.tracker, folder), labels,
        )  # fmt: skip
    write_history(folder, done.history)

    if not variant.trains_observation:
        seed_everything(config.seed, "calibration")
        shown = images[:CALIBRATION_IMAGES].to(device)
        condition = observe_condition(shown, labels, config.dataset, variant.condition_shape)
        fit_observation(variant, observe_training(shown, config.dataset), condition)
    held_out = evaluation_data(config, data, cache, device)
    for space in held_out.spaces.values():
        details |= {} if isinstance(space, str) else space.facts
    evaluation_started = time.perf_counter()
    result = _evaluate(variant, held_out, config)
    eval_seconds = time.perf_counter() - evaluation_started
    details |= result.details
    seed_everything(config.seed, "pictures")
    pictures.write(folder, variant, held_out.x, config.dataset.show_originals, held_out.condition)
    latent_pictures.write(folder, variant, held_out.x, held_out.labels, held_out.condition)
    save_weights(folder, variant.state_dict())
    return {
        "metrics": result.metrics,
        "not_applicable": result.not_applicable,
        "warnings": result.warnings,
        "parameters": sum(parameter.numel() for parameter in variant.parameters()),
        "evaluated_images": len(held_out.x),
        "timing": {
            "train_seconds": done.train_seconds,
            "train_images_per_second": done.epoch * len(images) / done.train_seconds,
            "eval_seconds": eval_seconds,
        },
    }


def prepare(config: Config, data: Dataset, setting: Setting) -> None:
    """Leave in the cache what every cell of a data set shares: the networks and the reference features."""
    evaluation_data(config, data, setting.cache, setting.device)
    if variants.lookup(config.variant_name).needs_teacher:
        teacher(data, setting.cache, setting.device)


def _evaluate(variant: Variant, held_out: EvaluationData, config: Config) -> Evaluation:
    """All metrics; where the device's memory does not suffice, once more with half as many images decoded at a time."""
    try:
        return evaluate(variant, held_out, config.evaluation, config.seed)
    except torch.OutOfMemoryError:
        half = replace(config.evaluation, decodes=max(1, config.evaluation.decodes // 2))
    # Outside the handler, whose traceback holds on to the tensors that did not fit.
    torch.cuda.empty_cache()
    result = evaluate(variant, held_out, half, config.seed)
    result.warnings.append(f"out of memory: evaluated again with evaluation.decodes={half.decodes}")
    return result


def evaluation_data(config: Config, data: Dataset, cache: Path, device: torch.device) -> EvaluationData:
    """Test images, probe images and feature spaces of a cell; networks and reference features come from ``cache``."""
    x = observe_evaluation(data.test.images, config.dataset, config.evaluation.images).to(device)
    rows = subset(len(data.train), config.evaluation.probe_images, seed=0)
    probe = observe_evaluation(data.train.images[rows], config.dataset).to(device)
    labels = None if data.test.labels is None else data.test.labels[: len(x)]
    probe_labels = None if data.train.labels is None else data.train.labels[rows]
    count = config.evaluation.generated_images
    spaces: dict[str, FeatureSpace | str] = {}
    try:
        spaces["features"] = judge_space(data, cache, device, count)
    except UserError:
        raise
    except ValueError as error:
        spaces["features"] = str(error)
    if not config.evaluation.inception:
        spaces["inception"] = "evaluation.inception is off in this profile"
    else:
        try:
            spaces["inception"] = inception_space(data, cache, device, count, config.evaluation.inception_precision)
        except WeightsUnavailableError as error:
            spaces["inception"] = str(error)
    shape = condition_shape(data, config.dataset)
    condition = observe_condition(x, labels, config.dataset, shape)
    probe_condition = observe_condition(probe, probe_labels, config.dataset, shape)
    return EvaluationData(x, labels, probe, probe_labels, spaces, condition, probe_condition, len(data.train))


def write_failure(config: Config, setting: Setting, kind: str, message: str) -> Record:
    """Write the record of a cell that could not run to its end, and return it."""
    error = {"type": kind, "message": message[:2000], "traceback": ""}
    details = {"overrides": list(config.overrides)}
    outcome = {"status": "failed", "error": error}
    return _store(setting, config, _record(config, setting.device, "unknown", {}, details, outcome))


def _store(setting: Setting, config: Config, record: Record) -> Record:
    """Write a record and return it. On a disk that takes none, the cell has failed and, without a record, runs again
    from its checkpoint at the next start."""
    try:
        write_record(setting.run_folder(config), record)
    except OSError as error:
        log.error("%s: its record cannot be written: %s", config.run_id, error)
        return replace(record, status="failed", error=_described(error), metrics={}, not_applicable={})
    return record


def _record(
    config: Config,
    device: torch.device,
    data_sha256: str,
    timing: dict[str, float],
    details: dict[str, Any],
    outcome: dict[str, Any],
) -> Record:
    return Record(
        run_id=config.run_id,
        variant=config.variant_name,
        dataset=config.dataset.name,
        profile=config.profile,
        seed=config.seed,
        config=config.resolved(),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        importance_samples=config.evaluation.importance_samples,
        environment={**describe(device), "data_sha256": data_sha256},
        timing=timing,
        details=details,
        **outcome,
    )


def _described(error: Exception) -> dict[str, str]:
    return {
        "type": type(error).__name__,
        "message": str(error)[:2000],
        "traceback": "".join(traceback.format_exception(error))[-8000:],
    }
