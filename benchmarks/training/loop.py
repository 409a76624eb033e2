"""The training loop, which all variants share."""

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
    """Train ``variant`` in place on ``images``, uint8 (n, channels, height, width), with ``labels`` (n, ...) if there
    are any. The images may be on the variant's device or elsewhere, such as a memory map larger than the memory of the
    device; they are then copied to the device batch by batch.

    ``validate`` returns named scores, where higher is better; validations are compared by the first score. ``measure``
    returns the numbers to record at the points of ``training.measure_at``. With ``checkpoints``, checkpoints and the
    history are written, and an interrupted run continues from its last checkpoint and reaches the same weights as an
    uninterrupted run. ``track`` is called with the history row of every epoch.

    Raises :class:`DivergenceError` if the loss is not finite; this is checked at the end of every epoch and before
    every validation or measurement. Raises ``UserError`` for images or labels of another type or shape, and if the
    configuration needs ``validate`` or ``measure`` and it is None.
    """
    check_training_images(images, labels, variant.image_shape)
    device = next(variant.parameters()).device
    budget = budget_of(config, len(images))
    watch = Watch(variant, config, budget, validate, measure)
    train_on = make_step(variant, images, dataset, config, budget, device, labels)
    optimisers = train_on.optimisers
    # Minimum number of seconds between two checkpoints: writing one takes about 0.05 s for a small network.
    between = variables.seconds("VAE_CHECKPOINT_SECONDS", 20)
    found = None if checkpoints is None else checkpoints.restore(variant, optimisers, watch.best)
    done = found or Progress()
    if checkpoints is not None and found is None:
        # Saved before the first step, so that the number of threads is stored even if the run is interrupted early.
        checkpoints.save(variant, optimisers, watch.best, done)
    # The whole tensor is on the device: indexing it in a step needs neither a copy nor a synchronisation.
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
        # A budget in steps may end in the middle of an epoch.
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
    """Return ``means`` of the current epoch. Raises :class:`DivergenceError` if their loss is not finite."""
    if not math.isfinite(loss := _loss(means)):
        terms = [name for name, value in means.items() if not (math.isfinite(value) or name.startswith("loss_"))]
        which = f"; terms that are not finite: {', '.join(terms)}" if terms else ""
        raise DivergenceError(f"the loss of epoch {done.epoch + 1} is {loss}{which}")
    return means


@contextlib.contextmanager
def tensor_float_32(allowed: bool) -> Iterator[None]:
    """Set whether a GPU may use TF32 for fp32 matrix products and convolutions inside the block.

    This is a setting of the whole process, which is restored after the block because evaluation must not use TF32.
    """
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    try:
        products.allow_tf32 = convolutions.allow_tf32 = allowed
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before


def write_history(folder: Path, history: list[dict[str, float]]) -> None:
    """Write history.csv with one row per epoch. Values that were not measured in an epoch are left empty."""
    columns = list(dict.fromkeys(key for row in history for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    write_atomically(folder / HISTORY_FILE, text.getvalue().encode())
