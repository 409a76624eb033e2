"""One cell: one variant on one data set under one profile with one seed, from configuration to record."""

from __future__ import annotations

import contextlib
import logging
import os
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
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
from benchmarks.environment import describe, load_per_core, peak_memory, reset_peak_memory, threads
from benchmarks.errors import UserError
from benchmarks.evaluation import latent_pictures, pictures
from benchmarks.evaluation.evaluate import (
    Evaluation,
    EvaluationData,
    described,
    evaluate,
    failure,
    interim,
    validation_score,
)
from benchmarks.evaluation.features.inception import WeightsUnavailableError
from benchmarks.evaluation.features.spaces import FeatureSpace, inception_space, judge_space
from benchmarks.evaluation.judges.shipped import check_shipped
from benchmarks.evaluation.likelihood import no_bound
from benchmarks.evaluation.representation import subset
from benchmarks.files import remove_temporary, write_atomically
from benchmarks.progress.report import doing
from benchmarks.records.checks import tidy
from benchmarks.records.load import load_details
from benchmarks.records.record import (
    IMAGE_SHAPE,
    MEASURED,
    OWN_CODE,
    RECORD_FILE,
    UNKNOWN_DATA,
    NewerSchemaError,
    Record,
    RecordError,
    read_record,
    set_aside,
    write_record,
)
from benchmarks.seeding import seed_everything
from benchmarks.sweep.locks import LOCK_FILE, LockedError, cell_lock
from benchmarks.sweep.outliers import outlier_sets
from benchmarks.training.calibration import fit_observation
from benchmarks.training.checkpoint import Checkpoints, Trained, copied, remove_checkpoints
from benchmarks.training.identity import identity, own_code_digest
from benchmarks.training.loop import DivergenceError, tensor_float_32, train, write_history
from benchmarks.training.teacher import teacher
from benchmarks.training.tracking import tracker
from variants import Variant

log = logging.getLogger(__name__)

# Sources whose data may change under the same name. The files of all other sources are checked against a published
# digest.
_CHANGEABLE = ("folder", "array", "celeba", "shapes")
# Number of training images for fitting the scale of an observation model that the loss does not train.
CALIBRATION_IMAGES = 5000
# The detail of a record that names the steps that failed after training.
FAILED_STEPS = "failed_steps"
# The type of the error of a record whose data set could not be loaded.
DATA_MISSING = "DataMissing"


def build(config: Config, image_shape: tuple[int, int, int], condition: tuple[int, ...] | None = None) -> Variant:
    """Make the variant of a configuration, with weights initialised from the cell's seed. ``condition`` is the shape of
    the condition of an image, if there is one."""
    seed_everything(config.seed, "initialisation")
    return config.build(image_shape, condition)


@dataclass(frozen=True)
class Setting:
    """Where and how cells are run. Nothing here affects a result.

    ``results`` and ``data_root``: folders. ``cache``: the folder of networks that all cells of a data set share.
    ``tracker``: the name of a tracker (see :mod:`benchmarks.training.tracking`). ``skip_published``: whether a cell
    with a published record but no local one counts as done. ``jobs``: the number of runs at the same time.
    """

    results: Path
    data_root: Path
    cache: Path
    device: torch.device
    tracker: str = "none"
    show_progress: bool = True
    skip_published: bool = False
    jobs: int = 1

    def run_folder(self, config: Config) -> Path:
        return self.results / "runs" / config.run_id


@dataclass(frozen=True)
class Stored:
    """The stored record of a cell. ``path`` is None if there is no file. ``record`` is None if the file is missing or
    invalid, and ``problem`` says why it is invalid."""

    path: Path | None = None
    record: Record | None = None
    problem: str = ""


def stored(config: Config, setting: Setting) -> Stored:
    """Read the record of a cell, without changing any file. Raises :class:`UserError` for a record that must not be
    replaced, because it cannot be opened or was written by a later version of the suite."""
    for run_id in dict.fromkeys((config.run_id, config.earlier_run_id)):
        path = setting.results / "runs" / run_id / RECORD_FILE
        try:
            return Stored(path, read_record(path))
        except FileNotFoundError:
            continue
        except NewerSchemaError as error:
            raise UserError(f"{error}: update the suite, or use another results folder") from None
        except RecordError as error:
            return Stored(path, None, str(error))
        except OSError as error:
            raise UserError(f"{path} cannot be opened: {error.strerror}") from None
    return Stored()


def finished(config: Config, setting: Setting) -> Record | None:
    """The record of a cell, successful or not; None if there is no valid record."""
    return stored(config, setting).record


def from_other_data(record: Record, config: Config, digest: Callable[[], str]) -> bool:
    """Whether a record was made from other data than those whose SHA-256 ``digest`` returns. The run id does not depend
    on the content of the data. False if the record has no digest or the data are not available."""
    if config.dataset.source not in _CHANGEABLE or record.data_sha256 == UNKNOWN_DATA:
        return False
    try:
        return digest() != record.data_sha256
    except UserError as error:
        log.info("%s: could not check whether it was made from the current data (%s)", record.run_id, error)
        return False


def incomplete(record: Record) -> bool:
    """Whether a retry repeats the cell of ``record``: its status is not "ok", or a step after training failed."""
    return record.status != "ok" or FAILED_STEPS in record.details


def failed_again(record: Record | None, earlier: Record | None) -> bool:
    """Whether a retry that found the record ``earlier`` failed: it would otherwise have replaced it. A failed record
    does not replace one with metrics."""
    return record is not None and record == earlier and incomplete(record)


def run_once(config: Config, setting: Setting, load: Callable[[], Dataset], retry: bool = False) -> Record:
    """Return the stored record of a cell, or run the cell and return its new record.

    A cell is run again if its record is invalid or was made from other data; the old file is then renamed. With
    ``retry``, it is also run again if its record is :func:`incomplete`. It is not trained again if its weights are
    stored. Raises :class:`benchmarks.sweep.locks.LockedError` if another process runs it.
    """
    load = cache(load)
    folder = setting.run_folder(config)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(cell_lock(folder))
        except OSError as error:
            return write_failure(config, setting, type(error).__name__, f"its folder cannot be written: {error}")
        remove_temporary(folder)
        # Another sweep may have finished the cell after this one was planned.
        held = stored(config, setting)
        if held.path is not None and held.record is None:
            log.warning("invalid record, renamed to %s: %s", set_aside(held.path, "unreadable").name, held.problem)
        elif held.path is not None and held.record is not None:
            record = held.record
            if from_other_data(record, config, lambda: load().sha256):
                kept = set_aside(held.path, "other-data").name
                log.warning(
                    "%s was made from different data: running it again; the old record is kept as %s",
                    record.run_id,
                    kept,
                )
            elif not (retry and incomplete(record)):
                if record.status != "failed":
                    remove_checkpoints(folder)
                return record
            elif record.status != "ok":
                held.path.unlink()
        try:
            with doing("loading the data"):
                data = load()
        except UserError as error:
            return write_failure(config, setting, DATA_MISSING, str(error))
        return run_cell(config, data, setting)


def clean_up(config: Config, setting: Setting) -> None:
    """Remove the files left by a run that was killed just after it wrote its record: checkpoints that are not needed
    any more, temporary files and the lock file."""
    folder = setting.run_folder(config)
    if any(next(folder.glob(pattern), None) for pattern in ("checkpoint-*", ".*.tmp", LOCK_FILE)):
        # Files that another process still uses, and folders that cannot be written, are left alone.
        with contextlib.suppress(LockedError, OSError), cell_lock(folder):
            remove_temporary(folder)
            if (record := finished(config, setting)) is not None and record.status != "failed":
                remove_checkpoints(folder)


def run_cell(config: Config, data: Dataset, setting: Setting) -> Record:
    """Train, evaluate and record one cell. Errors are stored in the record.

    An interrupt is not caught and leaves no record. When an interrupted cell is run again, or a failed one is retried,
    it continues from its checkpoint, or from its weights if it was trained. A run keeps the number of threads with
    which it started.
    """
    folder = setting.run_folder(config)
    folder.mkdir(parents=True, exist_ok=True)
    checkpoints = Checkpoints(folder, identity(config, data), setting.device)
    count = None
    with contextlib.suppress(OSError):  # an error of the disk is reported when the tensors are read
        count = checkpoints.threads()
    with threads(count or torch.get_num_threads()), tensor_float_32(False):
        record = _run(config, data, checkpoints, setting)
    if record.status != "failed":
        checkpoints.remove()
    return record


def _run(config: Config, data: Dataset, checkpoints: Checkpoints, setting: Setting) -> Record:
    started, load_before = time.perf_counter(), load_per_core()
    reset_peak_memory(setting.device)
    details = {**_known(config), "data_title": data.title, IMAGE_SHAPE: list(data.shape)}
    outcome: dict[str, Any] = {"timing": {}}
    try:
        # The judge is needed only after training, but if it is damaged, its metrics would be lost. So check it now.
        check_shipped()
        variant, trained, earlier = _trained(config, data, checkpoints, setting)
        details |= trained.details | {"resumed_after_epochs": trained.progress.resumed}
        outcome["timing"] = {
            "train_seconds": trained.progress.train_seconds,
            "train_images_per_second": trained.progress.images / trained.progress.train_seconds,
        }
        outcome["parameters"] = sum(parameter.numel() for parameter in variant.parameters())
        result = Evaluation(warnings=list(trained.progress.notes))
        with _alone("history", result):
            write_history(checkpoints.folder, trained.progress.history)
        _calibrate(config, data, variant, trained, checkpoints, result)
        held_out = evaluation_data(config, data, setting.cache, setting.device, result)
        with _alone("outliers", result):
            sets = outlier_sets(config.dataset, data, setting.data_root, setting.device)
            held_out = replace(held_out, outliers=sets)
        outcome["evaluated_images"] = len(held_out.x)
        outcome["timing"]["eval_seconds"] = _evaluate(config, variant, held_out, result)
        _draw(config, variant, held_out, checkpoints.folder, result)
        with _alone("tables", result):
            for name, text in result.tables.items():
                write_atomically(checkpoints.folder / name, text.encode())
        # Details of the evaluation must not replace details that were set before it.
        details = result.details | details
        if result.failed:
            details[FAILED_STEPS] = result.failed
        outcome |= {"metrics": result.metrics, "not_applicable": result.not_applicable}
        reasons = [f"{step} {failed['reason']}" for step, failed in result.failed.items()]
        outcome["warnings"] = result.warnings + reasons
        if not result.metrics and reasons:
            raise RuntimeError(f"nothing could be measured: {reasons[0]}")
        outcome["status"] = "ok"
        started -= earlier
    except DivergenceError as error:
        outcome |= {"status": "diverged", "error": _described(error)}
    except (Exception, SystemExit) as error:
        log.error("%s failed: %s: %s", config.run_id, type(error).__name__, error)
        outcome |= {"status": "failed", "error": _described(error)}
    timing = {**outcome.pop("timing"), "total_seconds": time.perf_counter() - started}
    details["peak_memory_bytes"] = peak_memory(setting.device)
    own = torch.get_num_threads() * setting.jobs / (os.cpu_count() or 1)
    details |= load_details(load_before, load_per_core(), own)
    try:
        record = _record(config, setting.device, data.sha256, timing, details, outcome)
    except RecordError as error:
        # For example, because of a metric of the user's own. The weights are stored and can be evaluated again once it
        # is corrected.
        log.error("%s failed: %s", config.run_id, error)
        outcome = {"status": "failed", "error": _described(error)}
        record = _record(config, setting.device, data.sha256, {}, _known(config), outcome)
    return _store(setting, config, record)


def _trained(
    config: Config, data: Dataset, checkpoints: Checkpoints, setting: Setting
) -> tuple[Variant, Trained, float]:
    """Load the trained weights of a cell, or train it and store them. Returns the variant, what belongs to its weights,
    and the seconds of training in earlier processes."""
    device = setting.device
    variant = build(config, data.shape, condition_shape(data, config.dataset)).to(device)
    trained = checkpoints.load_weights(variant)
    if trained is not None:
        # Only the objective still needs the teacher. It is used if it is the same network as in training.
        with contextlib.suppress(Exception):
            if variant.needs_teacher:
                network, which = teacher(data, setting.cache, device)
                if which == trained.details.get("teacher"):
                    variant.use_teacher(network)
        return variant, trained, trained.progress.train_seconds
    trained, earlier = learn(config, data, variant, setting, checkpoints)
    _keep(checkpoints, variant, trained)
    return variant, trained, earlier


def learn(
    config: Config, data: Dataset, variant: Variant, setting: Setting, checkpoints: Checkpoints | None = None
) -> tuple[Trained, float]:
    """Train ``variant`` in place on the training split, on ``setting.device``. It is validated if there are validation
    images. Returns what belongs to its weights, and the seconds of training in earlier processes."""
    device = setting.device
    details: dict[str, Any] = {}
    images = place(training_images(data.train.images, config.dataset), device)
    labels = None if data.train.labels is None else data.train.labels.to(images.device)
    validation = observe_evaluation(data.validation.images, config.dataset, config.training.validation_images)
    validation = validation.to(device)
    given = observe_condition(validation, data.validation.labels, config.dataset, variant.condition_shape)

    samples = config.training.validation_samples
    size = len(data.train)

    def validate(model: Variant) -> dict[str, float]:
        by = config.training.select_by
        # The other scores (squared error and training objective) do not depend on a fitted scale.
        has_likelihood = model.observation.is_trained and not no_bound(model)
        fitted = calibrated(config, data, model) if has_likelihood else contextlib.nullcontext()
        # Without TF32, like the evaluation after training, even if training uses it.
        with tensor_float_32(False), fitted:
            return validation_score(model, validation, config.seed, samples, given, size, by, data.validation.labels)

    def measure(model: Variant) -> dict[str, float]:
        return _interim(config, data, model)

    if variant.needs_teacher:
        network, details["teacher"] = teacher(data, setting.cache, device)
        variant.use_teacher(network)
        if checkpoints is not None:
            checkpoints.teacher = details["teacher"]
    track = None if checkpoints is None else tracker(setting.tracker, checkpoints.folder)
    with tensor_float_32(config.training.precision != "fp32"):
        done = train(
            variant, images, config.dataset, config.training, config.seed, validate if len(validation) else None,
            checkpoints, setting.show_progress, track, labels, measure,
        )  # fmt: skip
    if done.measured:
        details[MEASURED] = done.measured
    if config.training.select == "validation":
        details["selected_step"] = done.best_step
    if config.training.compile != "off":
        details["compiled"] = done.compiled
    return Trained(done, calibrated=variant.trains_observation, details=details), done.earlier_seconds


def _interim(config: Config, data: Dataset, variant: Variant) -> dict[str, float]:
    """Measure a model during training on the test images of the record, with ``training.validation_samples``
    samples."""
    device = next(variant.parameters()).device
    x = observe_evaluation(data.test.images, config.dataset, config.evaluation.images).to(device)
    labels = None if data.test.labels is None else data.test.labels[: len(x)]
    condition = observe_condition(x, labels, config.dataset, variant.condition_shape)
    options = replace(config.evaluation, importance_samples=config.training.validation_samples)
    with tensor_float_32(False), calibrated(config, data, variant):
        return interim(variant, x, labels, condition, len(data.train), options, config.seed)


def _keep(checkpoints: Checkpoints, variant: Variant, trained: Trained) -> None:
    """Save the weights. If they cannot be written, the evaluation still continues, with a note for the record."""
    try:
        checkpoints.save_weights(variant, trained)
    except OSError as error:
        log.warning("%s: could not save its weights: %s", checkpoints.folder.name, error)
        trained.progress.notes.append(f"the weights could not be saved: {error.strerror or error}")


@doing("fitting the observation model")
def _calibrate(
    config: Config, data: Dataset, variant: Variant, trained: Trained, checkpoints: Checkpoints, result: Evaluation
) -> None:
    """Fit the observation model once, if the loss does not train it. If this fails, the run fails, because without it
    the likelihoods would be those of an arbitrary scale."""
    if trained.calibrated:
        return
    calibrate(config, data, variant)
    trained.calibrated = True
    _keep(checkpoints, variant, trained)


def calibrate(config: Config, data: Dataset, variant: Variant) -> None:
    """Fit the observation model of a trained ``variant`` to training images, in place."""
    seed_everything(config.seed, "calibration")
    device = next(variant.parameters()).device
    images = training_images(data.train.images, config.dataset)[:CALIBRATION_IMAGES].to(device)
    shown = observe_training(images, config.dataset)
    labels = None if data.train.labels is None else data.train.labels[:CALIBRATION_IMAGES].to(device)
    condition = observe_condition(shown, labels, config.dataset, variant.condition_shape)
    fit_observation(variant, shown, condition)


@contextlib.contextmanager
def calibrated(config: Config, data: Dataset, variant: Variant) -> Iterator[None]:
    """Inside the block, ``variant`` has the observation model that it would have if training ended now. An observation
    model that the loss does not train is fitted, and its state is restored after the block."""
    if variant.trains_observation:
        yield
        return
    before = copied(variant.observation.state_dict())
    calibrate(config, data, variant)
    try:
        yield
    finally:
        variant.observation.load_state_dict(before)


@contextlib.contextmanager
def _alone(step: str, result: Evaluation) -> Iterator[None]:
    """Run one step after training. If it raises an error, the error is recorded and the other steps still run."""
    try:
        yield
    except (Exception, SystemExit) as error:
        log.warning("%s %s", step, failure(error))
        result.failed[step] = described(error)


@doing("drawing pictures")
def _draw(config: Config, variant: Variant, held_out: EvaluationData, folder: Path, result: Evaluation) -> None:
    seed_everything(config.seed, "pictures")
    with _alone("pictures", result):
        pictures.write(folder, variant, held_out.x, config.dataset.show_originals, held_out.condition)
    with _alone("denoised images", result):
        pictures.write_denoised(folder, variant, held_out.x, config.dataset.show_originals)
    with _alone("latent pictures", result):
        latent_pictures.write(
            folder,
            variant,
            held_out.x,
            held_out.labels,
            held_out.condition,
            config.dataset.show_originals,
            held_out.factors,
        )


@tensor_float_32(False)
def prepare(config: Config, data: Dataset, setting: Setting) -> None:
    """Put into the cache what all cells of a data set share: the networks and the reference features."""
    evaluation_data(config, data, setting.cache, setting.device)
    if variants.lookup(config.variant_name).needs_teacher:
        teacher(data, setting.cache, setting.device)


@doing("evaluating")
def _evaluate(config: Config, variant: Variant, held_out: EvaluationData, result: Evaluation) -> float:
    """Add all metrics to ``result`` and return the seconds that this took. If the device runs out of memory, the
    evaluation is repeated with half as many images decoded at a time."""
    started = time.perf_counter()
    try:
        found = evaluate(variant, held_out, config.evaluation, config.seed)
    except torch.OutOfMemoryError:
        found = None
    if found is None:
        # Not in the except block, where the traceback still refers to the tensors that filled the memory.
        torch.cuda.empty_cache()
        half = replace(config.evaluation, decodes=max(1, config.evaluation.decodes // 2))
        found = evaluate(variant, held_out, half, config.seed, short_of_memory=True)
        found.warnings.append(f"out of memory: evaluated again with evaluation.decodes={half.decodes}")
    result.include(found)
    return time.perf_counter() - started


@doing("preparing the evaluation")
def evaluation_data(
    config: Config, data: Dataset, cache: Path, device: torch.device, result: Evaluation | None = None
) -> EvaluationData:
    """Test images, probe images and feature spaces of a cell. Networks and reference features come from ``cache``.
    Errors in making a feature space are stored in ``result``."""
    result = Evaluation() if result is None else result
    x = observe_evaluation(data.test.images, config.dataset, config.evaluation.images).to(device)
    rows = subset(len(data.train), config.evaluation.probe_images, seed=0)
    probe = observe_evaluation(data.train.images[rows], config.dataset).to(device)
    labels = None if data.test.labels is None else data.test.labels[: len(x)]
    probe_labels = None if data.train.labels is None else data.train.labels[rows]
    count = config.evaluation.generated_images
    precision = config.evaluation.inception_precision
    spaces: dict[str, FeatureSpace | str] = {
        "features": _space("features", result, lambda: judge_space(data, cache, device, count)),
        "inception": _space("inception", result, lambda: inception_space(data, cache, device, count, precision))
        if config.evaluation.inception
        else "evaluation.inception is off in this profile",
    }
    shape = condition_shape(data, config.dataset)
    condition = observe_condition(x, labels, config.dataset, shape)
    probe_condition = observe_condition(probe, probe_labels, config.dataset, shape)
    factors = data.factors_of(data.test.of(slice(len(x))))
    return EvaluationData(
        x, labels, probe, probe_labels, spaces, condition, probe_condition, len(data.train), factors=factors
    )


def _space(name: str, result: Evaluation, make: Callable[[], FeatureSpace]) -> FeatureSpace | str:
    """Make a feature space, or return the reason why there is none: the data do not suit it, its weights are not
    available, or an unexpected error occurred, which is also stored in ``result``."""
    try:
        space = make()
    except Exception as error:
        lacking = isinstance(error, ValueError | WeightsUnavailableError) and not isinstance(error, UserError)
        if lacking:
            return str(error)
        log.warning("feature space %s: %s", name, failure(error))
        result.failed[f"feature space {name}"] = described(error)
        return failure(error)
    result.details |= space.facts
    return space


def write_failure(config: Config, setting: Setting, kind: str, message: str) -> Record:
    """Write and return the failed record of a cell that could not run to its end."""
    error = {"type": kind, "message": tidy(message[:2000]), "traceback": ""}
    details = _known(config)
    outcome = {"status": "failed", "error": error}
    return _store(setting, config, _record(config, setting.device, UNKNOWN_DATA, {}, details, outcome))


def _known(config: Config) -> dict[str, Any]:
    """Details of a record that are known before the cell runs."""
    cls = variants.lookup(config.variant_name)
    code = own_code_digest(cls)
    return {
        "overrides": list(config.overrides),
        "family": cls.family,
        **({OWN_CODE: code} if code else {}),
    }


def _store(setting: Setting, config: Config, record: Record) -> Record:
    """Write a record and return it. A record that failed or diverged does not replace a stored one. If the record
    cannot be written, it is returned with the status "failed", and the next start runs the cell again from its
    checkpoint or weights."""
    folder = setting.run_folder(config)
    try:
        if record.status != "ok" and (folder / RECORD_FILE).exists():
            log.error("%s: keeping its earlier record", config.run_id)
        else:
            write_record(folder, record)
    except OSError as error:
        log.error("%s: could not write its record: %s", config.run_id, error)
        return replace(record, status="failed", error=_described(error), metrics={}, not_applicable={})
    return record


@doing("writing the record")
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
        environment=tidy({**describe(device), "data_sha256": data_sha256}),
        timing=timing,
        details=tidy(details),
        # Shorten and clean texts of evaluations and errors, so that the record is not refused because of them.
        **{name: tidy(value) if name in ("not_applicable", "warnings") else value for name, value in outcome.items()},
    )


def _described(error: BaseException) -> dict[str, str]:
    described = {
        "type": type(error).__name__,
        "message": str(error)[:2000],
        "traceback": "".join(traceback.format_exception(error))[-8000:],
    }
    return {name: tidy(text) for name, text in described.items()}
