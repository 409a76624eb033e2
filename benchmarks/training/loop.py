"""The one training loop, for every variant alike."""

from __future__ import annotations

import contextlib
import csv
import io
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from benchmarks import variables
from benchmarks.config import TrainingConfig
from benchmarks.data import DatasetConfig, check_training_images
from benchmarks.files import write_atomically
from benchmarks.records.record import HISTORY_FILE
from benchmarks.seeding import seed_everything
from benchmarks.training.checkpoint import Checkpoints, Progress, copied
from benchmarks.training.pace import Pace
from benchmarks.training.schedules import learning_rate_factor
from benchmarks.training.step import make_step
from variants import Variant


class DivergenceError(RuntimeError):
    """The loss of an epoch is not finite."""


def train(
    variant: Variant,
    images: Tensor,
    dataset: DatasetConfig,
    config: TrainingConfig,
    seed: int,
    validate: Callable[[Variant], dict[str, float]] | None = None,
    checkpoints: Checkpoints | None = None,
    show_progress: bool = True,
    track: Callable[[dict[str, float]], None] | None = None,
    labels: Tensor | None = None,
) -> Progress:
    """Train ``variant`` in place on ``images``, uint8 (n, channels, height, width): on its device, or elsewhere (a
    memory map larger than the device) and then sent there batch by batch. ``labels`` (n, ...) of the images, where
    there are any.

    ``validate`` gives named scores, higher is better; epochs are compared by the first. With ``checkpoints``, these and
    the history are written and an interrupted run goes on from the last one, to the same weights that an uninterrupted
    one reaches. ``track`` is called with every epoch's row of it. Raises :class:`DivergenceError` at the end of an
    epoch whose loss is not finite, and ``UserError`` for images or labels of another type or shape.
    """
    check_training_images(images, labels, variant.image_shape)
    device = next(variant.parameters()).device
    steps_per_epoch = math.ceil(len(images) / config.batch_size)
    steps = config.epochs * steps_per_epoch
    train_on = make_step(variant, images, dataset, config, device, labels)
    optimisers = train_on.optimisers
    best: dict[str, Tensor] = {}
    # At least so long between two checkpoints: writing one costs about 0.05 s for a small network.
    between = variables.seconds("VAE_CHECKPOINT_SECONDS", 20)
    found = None if checkpoints is None else checkpoints.restore(variant, optimisers, best)
    done = found or Progress()
    if checkpoints is not None and found is None:
        # Before the first step: from here on the run has its number of threads, wherever it is interrupted.
        checkpoints.save(variant, optimisers, best, done)
    # Indexing a tensor that is already on the device makes no copy to it, and no wait for it, at any step.
    progress = torch.linspace(0, 1, steps, device=device)
    saved_at = time.monotonic()

    pace = Pace(config.epochs, steps_per_epoch, config.batch_size, done.epoch, show_progress)
    while done.epoch < config.epochs and not _out_of_patience(done, config):
        seed_everything(seed, "epoch", done.epoch)
        variant.train()
        order = torch.randperm(len(images), device=images.device)
        started = time.perf_counter()
        for i, rows in enumerate(order.split(config.batch_size)):
            step = done.epoch * steps_per_epoch + i
            factor = learning_rate_factor(config.schedule, step / steps, config.warmup)
            train_on(rows, progress[step], factor)
            pace.step(done.epoch, i + 1)
        row = train_on.means()
        seconds = time.perf_counter() - started
        done.epoch += 1
        done.train_seconds += seconds
        loss = sum(value for key, value in row.items() if key.startswith("loss_"))
        if not math.isfinite(loss):
            raise DivergenceError(f"the loss of epoch {done.epoch} is {loss}")
        record = {
            "epoch": done.epoch, "progress": done.epoch / config.epochs, "seconds": seconds,
            "images_per_second": len(images) / seconds, "learning_rate": config.learning_rate * factor, "loss": loss,
            **{key: value for key, value in row.items() if not key.startswith("loss_") or len(optimisers) > 1},
        }  # fmt: skip
        if validate is not None and (done.epoch % config.validate_every == 0 or done.epoch == config.epochs):
            pace.validating(done.epoch - 1)
            score = validate(variant)
            record |= score
            first = next(iter(score.values()))
            if config.select == "validation" and first > done.best_score:
                done.best_score, done.best_epoch = first, done.epoch
                best = copied(variant.state_dict())
        done.history.append(record)
        if track is not None:
            track(record)
        pace.epoch(done.epoch - 1, record)
        last = done.epoch == config.epochs or _out_of_patience(done, config)
        if checkpoints is not None and (last or time.monotonic() - saved_at >= between):
            checkpoints.save(variant, optimisers, best, done)
            write_history(checkpoints.folder, done.history)
            saved_at = time.monotonic()
    pace.close()
    if best:
        variant.load_state_dict(best)
    return done


@contextlib.contextmanager
def tensor_float_32(allowed: bool) -> Iterator[None]:
    """Whether a GPU may round the factors of fp32 products to TF32 while the block runs: a setting of the process that
    evaluation does not share."""
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    try:
        products.allow_tf32 = convolutions.allow_tf32 = allowed
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before


def _out_of_patience(done: Progress, config: TrainingConfig) -> bool:
    return config.patience is not None and done.epoch - done.best_epoch >= config.patience


def write_history(folder: Path, history: list[dict[str, float]]) -> None:
    """Write history.csv, one row per epoch; a value not measured in an epoch is left empty."""
    columns = list(dict.fromkeys(key for row in history for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    write_atomically(folder / HISTORY_FILE, text.getvalue().encode())
