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
from benchmarks.training.budget import budget_of
from benchmarks.training.checkpoint import Checkpoints, Progress
from benchmarks.training.pace import Pace
from benchmarks.training.schedules import learning_rate_factor
from benchmarks.training.steps import make_step
from benchmarks.training.watch import Numbers, Watch
from variants import Variant


class DivergenceError(RuntimeError):
    """The loss of an epoch is not finite."""


def train(
    variant: Variant,
    images: Tensor,
    dataset: DatasetConfig,
    config: TrainingConfig,
    seed: int,
    validate: Numbers | None = None,
    checkpoints: Checkpoints | None = None,
    show_progress: bool = True,
    track: Callable[[dict[str, float]], None] | None = None,
    labels: Tensor | None = None,
    measure: Numbers | None = None,
) -> Progress:
    """Train ``variant`` in place on ``images``, uint8 (n, channels, height, width): on its device, or elsewhere (a
    memory map larger than the device) and then sent there batch by batch. ``labels`` (n, ...) of the images, where
    there are any.

    ``validate`` gives named scores, higher is better; validations are compared by the first. ``measure`` gives the
    numbers of a point in training that the configuration names. With ``checkpoints``, these and the history are written
    and an interrupted run goes on from the last one, to the same weights that an uninterrupted one reaches. ``track``
    is called with every epoch's row of it. Raises :class:`DivergenceError` at the end of an epoch, or before a look at
    the weights, if the loss is not finite, and ``UserError`` for images or labels of another type or shape, or a
    ``validate`` or ``measure`` that the configuration needs and that is not given.
    """
    check_training_images(images, labels, variant.image_shape)
    device = next(variant.parameters()).device
    budget = budget_of(config, len(images))
    watch = Watch(variant, config, budget, validate, measure)
    train_on = make_step(variant, images, dataset, config, budget, device, labels)
    optimisers = train_on.optimisers
    # At least so long between two checkpoints: writing one costs about 0.05 s for a small network.
    between = variables.seconds("VAE_CHECKPOINT_SECONDS", 20)
    found = None if checkpoints is None else checkpoints.restore(variant, optimisers, watch.best)
    done = found or Progress()
    if checkpoints is not None and found is None:
        # Before the first step: from here on the run has its number of threads, wherever it is interrupted.
        checkpoints.save(variant, optimisers, watch.best, done)
    # Indexing a tensor that is already on the device makes no copy to it, and no wait for it, at any step.
    progress = torch.linspace(0, 1, budget.steps, device=device)
    saved_at = time.monotonic()
    if done.step == 0 and watch.due(0):
        watch.look(done, {})

    epochs = math.ceil(budget.steps / budget.steps_per_epoch)
    pace = Pace(epochs, budget.steps_per_epoch, config.batch_size, done.epoch, show_progress, budget.steps)
    while done.step < budget.steps and not watch.out_of_patience(done):
        seed_everything(seed, "epoch", done.epoch)
        variant.train()
        train_on.begin()
        order = torch.randperm(len(images), device=images.device)
        scores: dict[str, float] = {}
        seen, seconds, started = 0, 0.0, time.perf_counter()
        # A budget in steps may end within an epoch.
        for i, rows in enumerate(order.split(config.batch_size)[: budget.steps - done.step]):
            factor = learning_rate_factor(
                config.schedule, done.step / budget.steps, config.warmup, budget.milestones, config.gamma
            )
            train_on(rows, progress[done.step], factor, done.step / budget.steps)
            done.step += 1
            seen += len(rows)
            pace.step(done.epoch, i + 1)
            if watch.due(done.step):
                means = _finite(train_on.means(), done)
                seconds += time.perf_counter() - started
                pace.validating(done.epoch)
                scores |= watch.look(done, means)
                started = time.perf_counter()
                if watch.out_of_patience(done):
                    break
        row = _finite(train_on.means(), done)
        seconds += time.perf_counter() - started
        done.epoch += 1
        done.images += seen
        done.compiled = train_on.compiled
        if train_on.refusal and train_on.refusal not in done.notes:
            done.notes.append(train_on.refusal)
        done.train_seconds += seconds
        record = {
            "epoch": done.epoch, "progress": done.step / budget.steps, "seconds": seconds,
            "images_per_second": seen / seconds, "learning_rate": config.learning_rate * factor, "loss": _loss(row),
            **{key: value for key, value in row.items() if not key.startswith("loss_") or len(optimisers) > 1},
            **scores,
        }  # fmt: skip
        done.history.append(record)
        if track is not None:
            track(record)
        pace.epoch(done.epoch - 1, record)
        last = done.step == budget.steps or watch.out_of_patience(done)
        if checkpoints is not None and (last or time.monotonic() - saved_at >= between):
            checkpoints.save(variant, optimisers, watch.best, done)
            write_history(checkpoints.folder, done.history)
            saved_at = time.monotonic()
    pace.close()
    if watch.best:
        variant.load_state_dict(watch.best)
    return done


def _loss(means: dict[str, float]) -> float:
    return sum(value for key, value in means.items() if key.startswith("loss_"))


def _finite(means: dict[str, float], done: Progress) -> dict[str, float]:
    """``means`` over the epoch that is under way, unless its loss is not finite."""
    if not math.isfinite(loss := _loss(means)):
        raise DivergenceError(f"the loss of epoch {done.epoch + 1} is {loss}")
    return means


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


def write_history(folder: Path, history: list[dict[str, float]]) -> None:
    """Write history.csv, one row per epoch; a value not measured in an epoch is left empty."""
    columns = list(dict.fromkeys(key for row in history for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    write_atomically(folder / HISTORY_FILE, text.getvalue().encode())
