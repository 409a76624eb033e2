"""Train a variant from Python: on a data set by its name, or on images in memory."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import variants
from benchmarks.conf_files import GIVEN_IMAGES
from benchmarks.config import Config, EvaluationConfig, TrainingConfig, compose, compose_for_images
from benchmarks.data import Dataset, DatasetConfig, Split, condition_shape, data_root, feature_cache, load
from benchmarks.data.dataset import OBSERVED
from benchmarks.errors import UserError
from benchmarks.library.checks import shown
from benchmarks.library.images import Array, image_bytes, label_tensor, training_labels
from benchmarks.library.runs import Run, choose, folder_of_model, holds_model, of_another_run, write_model
from benchmarks.library.settings import own_settings
from benchmarks.records.record import HISTORY_FILE
from benchmarks.sealed import DamagedError, read_sealed
from benchmarks.seeding import kept_random_state
from benchmarks.sweep.cell import Setting, build, calibrate, learn
from benchmarks.training.checkpoint import Checkpoints, checkpoint_files
from benchmarks.training.identity import Identity, identity
from variants.options import unknown
from variants.parts.networks import NETWORKS
from variants.parts.observations import OBSERVATION_MODELS

# Options of a data set that apply to images in memory.
_OBSERVING = tuple(name for name in OBSERVED if name not in ("show_originals", "outliers"))


@own_settings(gradients=True)
def fit(
    variant: str = "vae",
    images: Array | None = None,
    labels: Array | None = None,
    *,
    dataset: str | None = None,
    validation: Array | tuple[Array, Array] | None = None,
    profile: str = "quick",
    network: str | None = None,
    seed: int = 0,
    device: str = "auto",
    folder: str | Path | None = None,
    progress: bool = True,
    overrides: Sequence[str] = (),
    **options: Any,
) -> Run:
    """Train a variant, with a progress bar, and return it as a :class:`Run`.

    Give ``images`` with or without ``labels``, or the name of a ``dataset`` (``vae-bench list`` shows them). Any option
    of the variant, its network, the training or the data set can be a keyword: ``epochs=5, beta=4, latent_size=2``. If
    two parts have an option of the same name, use its full name: ``**{"network.hidden": [64]}``. ``overrides`` are
    overrides as on the command line. Options that are not given come from the ``profile``.

    Images in memory are bytes or floats in [0, 1], with shape (n, height, width) or with 1 or 3 channels first or last.
    If all pixels are 0 or 1, they are observed as binary pixels (``observation="bernoulli"``), otherwise as grey levels
    (``"discretised_logistic"``). With ``observation="bernoulli"``, grey pixels are drawn binary anew for every batch.
    All images are used for training. ``validation``, images or a pair of images and labels, is scored after every
    epoch.

    With a ``folder``, the model and history.csv are saved there (see `save`), and checkpoints during training. If
    training is interrupted, the same call continues from the last checkpoint.

    Raises :class:`UserError` before training for inputs and options that cannot be used, and for a folder with files of
    another run.

    Example:
        >>> run = fit("beta_vae", images, epochs=2, beta=4, latent_size=2)
        >>> len(run.history)
        2
    """
    if (images is None) == (dataset is None):
        raise UserError(
            "give either images or the name of a dataset: fit('vae', images) or fit('vae', dataset='mnist')"
        )
    if dataset is not None and (labels is not None or validation is not None):
        raise UserError(f"data set {dataset!r} has labels and validation images of its own: leave out those given")
    if variant not in variants.names():
        raise UserError(unknown("variant", variant, variants.names()))
    if not isinstance(overrides, list | tuple) or not all(isinstance(override, str) for override in overrides):
        raise UserError(f"overrides must be a list of texts, such as ['training.epochs=3'], got {shown(overrides)}")
    names = named_options(variant, network, options)
    chosen = [*([] if network is None else [f"network={network}"]), *overrides]
    if dataset is not None:
        config = compose(variant, dataset, profile, seed, [*chosen, *_overrides(names)])
        data = load(config.dataset, data_root())
    else:
        assert images is not None
        data = _given(images, labels, validation)
        config = _config_of_images(variant, data, profile, seed, chosen, names)
    if config.training.select == "validation" and not len(data.validation):
        raise UserError("training.select=validation needs images to score: fit(..., validation=images)")
    if config.training.measure_at and not len(data.test):
        raise UserError("training.measure_at measures test images, and images in memory are all for training")
    if config.dataset.condition == "label":
        _check_validation_classes(variant, data)
    return _fitted(config, data, choose(device), None if folder is None else folder_of_model(folder), progress)


def _check_validation_classes(variant: str, data: Dataset) -> None:
    """Raise :class:`UserError` unless the validation images have classes that the training images have."""
    labels = data.validation.labels
    if not len(data.validation):
        return
    if labels is None:
        raise UserError(f"{variant} is given the class: validation must be a pair of images and labels")
    if labels.dim() != 1 or int(labels.max()) >= data.classes:
        found = f"shape {tuple(labels.shape)}" if labels.dim() != 1 else f"classes up to {int(labels.max())}"
        raise UserError(
            f"{variant} is given the class: validation labels must be ({len(labels)},) classes from 0 to "
            f"{data.classes - 1}, as in training, got {found}"
        )


def _fitted(config: Config, data: Dataset, device: torch.device, folder: Path | None, progress: bool) -> Run:
    # Path() is the results folder. It is used only for cells, not here.
    setting = Setting(Path(), data_root(), feature_cache(), device, show_progress=progress)
    checkpoints = None
    if folder is not None:
        own = identity(config, data)
        _check_folder(folder, config, own)
        checkpoints = Checkpoints(folder, own, device)
    with kept_random_state(device):
        try:
            model = build(config, data.shape, condition_shape(data, config.dataset)).to(device)
        except (ValueError, TypeError) as error:
            raise UserError(" ".join(str(error).split())) from error
        trained, _ = learn(config, data, model, setting, checkpoints)
        if not trained.calibrated:
            calibrate(config, data, model)
    run = Run(model.eval(), config, trained.progress.history, data=data, data_sha256=data.sha256)
    if checkpoints is not None:
        write_model(run, checkpoints.folder)
        checkpoints.remove()
    return run


def _check_folder(folder: Path, config: Config, own: Identity) -> None:
    """Raise :class:`UserError` if training would replace files of another run than ``own``."""
    is_own = holds_model(folder, config, own.data)
    for path in checkpoint_files(folder):
        is_own = True
        # A damaged checkpoint is renamed, not replaced.
        with contextlib.suppress(DamagedError):
            if (why := own.difference(read_sealed(path).facts.get("identity"))) is not None:
                raise of_another_run(path, why)
    if not is_own and (folder / HISTORY_FILE).exists():
        raise of_another_run(folder / HISTORY_FILE)


def _given(images: Array, labels: Array | None, validation: Array | tuple[Array, Array] | None) -> Dataset:
    """Images in memory as a data set: all of them are for training, none for test."""
    pixels = image_bytes(images)
    if not pixels.any():
        raise UserError("every pixel in images is 0")
    targets = None if labels is None else training_labels(labels, len(pixels))
    none = Split(pixels[:0], None if targets is None else targets[:0])
    classes = 0 if targets is None else int(targets.max()) + 1 if targets.dim() == 1 else targets.shape[1]
    held_out = none if validation is None else _held_out(validation, pixels)
    train = Split(pixels, targets)
    return Dataset(GIVEN_IMAGES, "images in memory", train, held_out, none, _digest(train, held_out), classes)


def _digest(*splits: Split) -> str:
    """SHA-256 over everything that trained weights depend on: shapes, pixels and labels of the splits."""
    digest = hashlib.sha256()
    for tensor in (tensor for split in splits for tensor in (split.images, split.labels)):
        digest.update(b"none;" if tensor is None else f"{tuple(tensor.shape)};".encode())
        if tensor is not None:
            digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()


def _held_out(validation: Array | tuple[Array, Array], pixels: Tensor) -> Split:
    images, labels = validation if isinstance(validation, tuple) else (validation, None)
    _, channels, height, width = pixels.shape
    found = image_bytes(images, (channels, height, width), "validation images")
    return Split(found, None if labels is None else label_tensor(labels, len(found), "validation images"))


def _config_of_images(
    variant: str, data: Dataset, profile: str, seed: int, chosen: Sequence[str], names: dict[str, Any]
) -> Config:
    of_data = {key.removeprefix("dataset."): value for key, value in names.items() if key.startswith("dataset.")}
    _check_observing(of_data)
    binary = bool(((data.train.images == 0) | (data.train.images == 255)).all())
    given = of_data.get("observation", "bernoulli" if binary else "discretised_logistic")
    if given not in OBSERVATION_MODELS:
        raise UserError(unknown("observation model", given, OBSERVATION_MODELS))
    how = "threshold" if binary else "dynamic"
    base = {"observation": given, "binarise": how if OBSERVATION_MODELS[given].binary else "none"}
    if variants.lookup(variant).conditional and data.train.labels is not None:
        base["condition"] = "label"
    try:
        dataset = DatasetConfig(name=GIVEN_IMAGES, **{"title": data.title, **base, **of_data})
    except (ValueError, TypeError) as error:
        raise UserError(str(error)) from None
    rest = {key: value for key, value in names.items() if not key.startswith("dataset.")}
    config = compose_for_images(variant, dataset, profile, seed, [*chosen, *_overrides(rest)])
    # Overrides in the syntax of the command line are known only now.
    _check_observing(
        [key for key, value in dataclasses.asdict(dataset).items() if getattr(config.dataset, key) != value]
    )
    return config


def _check_observing(options: Iterable[str]) -> None:
    """Raise :class:`UserError` for an option of the data set that has no effect on images in memory."""
    for key in options:
        if key not in _OBSERVING:
            raise UserError(f"dataset.{key} has no effect on images in memory (allowed: {', '.join(_OBSERVING)})")


def named_options(variant: str, network: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """Keywords by their full names, ``{"training.epochs": 3}``.

    Raises :class:`UserError` for an option that no part has, and for one that several parts have.
    """
    networks = [NETWORKS[network]] if network in NETWORKS else list(NETWORKS.values())
    schemas: dict[str, list[type]] = {
        "variant": [variants.lookup(variant).Config], "network": networks, "training": [TrainingConfig],
        "evaluation": [EvaluationConfig], "dataset": [DatasetConfig],
    }  # fmt: skip
    fields = {
        part: {option.name for schema in several for option in dataclasses.fields(schema)} - {"name", "source"}
        for part, several in schemas.items()
    }
    found = {}
    for key, value in options.items():
        if "." in key:
            found[key] = value
            continue
        owners = [part for part, known in fields.items() if key in known]
        if not owners:
            raise UserError(unknown(f"option of {variant}", key, set().union(*fields.values())))
        if len(owners) > 1:
            which = " or ".join(f'**{{"{part}.{key}": ...}}' for part in owners)
            raise UserError(f"option {key!r} is one of {' and '.join(owners)}: write {which}")
        found[f"{owners[0]}.{key}"] = value
    return found


def _overrides(named: dict[str, Any]) -> list[str]:
    return [f"{key}={_hydra(key, value)}" for key, value in named.items()]


def _hydra(key: str, value: Any) -> str:
    """A value in the syntax of Hydra's overrides."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        return f"'{escaped}'"
    if isinstance(value, list | tuple):
        return f"[{','.join(_hydra(key, entry) for entry in value)}]"
    raise UserError(f"option {key} must be a number, a text, a list or None, got a {type(value).__name__}")
