"""Epochs of this suite's loop, timed one at a time in a separate process, so that steps are compiled only once."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.connection import Connection

import torch
from torch import Tensor

import variants
from benchmarks.config import TrainingConfig
from benchmarks.data import DatasetConfig
from benchmarks.training.loop import train
from variants.parts.networks import MLP

# Maximum number of epochs, more than any measurement needs.
MOST = 200


def epochs(images: Tensor, network: MLP, config: TrainingConfig, data: DatasetConfig) -> Iterator[float]:
    """Yield the seconds of successive epochs of a `vae`.

    Training takes place in a separate process, which waits after each epoch until the next one is requested. The first
    epoch is not yielded, because it includes compilation. Raises ``RuntimeError`` if the process has ended, which
    happens after :data:`MOST` epochs at the latest.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    arguments = (
        images.cpu(),
        network,
        replace(config, epochs=MOST),
        data,
        images.device,
        torch.get_num_threads(),
        there,
    )
    process = context.Process(target=_train, args=arguments, daemon=True)
    process.start()
    there.close()
    try:
        here.recv()
        while True:
            try:
                here.send(None)
                seconds = here.recv()
            except (BrokenPipeError, EOFError):
                raise RuntimeError(
                    f"the process that trains for the measurement has ended, after {MOST} epochs at most"
                ) from None
            yield seconds
    finally:
        # The process ends at its next send or receive.
        here.close()
        process.join()


def _train(
    images: Tensor,
    network: MLP,
    config: TrainingConfig,
    data: DatasetConfig,
    device: torch.device,
    threads: int,
    connection: Connection,
) -> None:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = variants.build("vae", (1, 28, 28), network).to(device)

    def wait(row: dict[str, float]) -> None:
        try:
            connection.send(row["seconds"])
            connection.recv()
        except (EOFError, OSError):  # no more epochs are requested
            raise SystemExit from None

    train(model, images.to(device), data, config, seed=0, show_progress=False, track=wait)
