"""Training steps with small batches: eager, compiled and captured.

In small steps, the overhead around the matrix products matters most.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch

from benchmarks.config import TrainingConfig
from benchmarks.environment import threads
from benchmarks.speed.epochs import epochs
from benchmarks.speed.loops import DATA, matrix_products, train_eagerly, train_once, update
from benchmarks.speed.rounds import in_turn
from benchmarks.speed.table import as_table, ratios, seconds_of
from variants.parts.networks import MLP

STEPS, STEPS_ON_A_GPU = 300, 1000
# Hidden layers of the encoder, latent dimensions, activation, batch size.
SIZES = (((200, 200), 50, "tanh", 20), ((512,), 16, "relu", 100))
EAGER, COMPILED, CAPTURED, LIMIT = "eager", "compiled", "captured", "matrix products and Adam's update alone"


def small_steps(device: torch.device, repeats: int) -> str:
    """Time eager and compiled steps (captured ones on a GPU) of each size: a section of the page.

    They are compared with the matrix products and the update alone, on one thread, as in the runs of a sweep.
    """
    with threads(1):
        return _measured(device, repeats)


def _measured(device: torch.device, repeats: int) -> str:
    rows, notes = [], []
    for hidden, latent, activation, batch in SIZES:
        network = MLP(latent_size=latent, hidden=list(hidden), activation=activation)
        timed = _on_a_gpu(device, network, batch) if device.type == "cuda" else _on_a_cpu(network, batch)
        steps = STEPS_ON_A_GPU if device.type == "cuda" else STEPS
        limit = partial(_limit, device, _widths(hidden, latent), batch, steps)
        rounds = in_turn({**timed, LIMIT: limit}, repeats)
        size = f"784-{'-'.join(map(str, (*hidden, latent)))}, batches of {batch}"
        for name, seconds in rounds.seconds.items():
            relative = "1.00" if name == EAGER else ratios(rounds.seconds[EAGER], seconds)
            rows.append([size, name, relative, f"{1000 * statistics.median(seconds) / steps:.3f}"])
        notes.append(rounds.note)
    table = as_table(["network", "step", "relative to eager (quartiles)", "ms a step (median)"], rows)
    how = (
        "as a CUDA graph (an epoch's time, warm-up and capture included) or operation by operation, like the products "
        "and the update alone"
        if device.type == "cuda"
        else "eager, or with its loss and gradients compiled (`training.compile=on`)"
    )
    busy = " ".join(dict.fromkeys(filter(None, notes)))
    return f"""Time of one training step of a `vae`, {how}.
Dynamic binarisation, Adam, fp32, one thread as in a sweep. The rows of a network were timed in turn. {busy}

{table}"""


def _on_a_cpu(network: MLP, batch: int) -> dict[str, Callable[[], float]]:
    images = (torch.rand(STEPS * batch, 1, 28, 28) * 255).to(torch.uint8)
    return {
        name: epochs(images, network, TrainingConfig(batch_size=batch, compile=compiled), DATA).__next__
        for name, compiled in ((EAGER, "off"), (COMPILED, "on"))
    }


def _on_a_gpu(device: torch.device, network: MLP, batch: int) -> dict[str, Callable[[], float]]:
    images = (torch.rand(STEPS_ON_A_GPU * batch, 1, 28, 28, device=device) * 255).to(torch.uint8)
    return {
        name: partial(seconds_of, partial(train, images, batch, network), device)
        for name, train in ((EAGER, train_eagerly), (CAPTURED, train_once))
    }


def _widths(hidden: tuple[int, ...], latent: int) -> list[tuple[int, int]]:
    """Input and output widths of every layer of the encoder and the decoder."""
    there, back = [784, *hidden, 2 * latent], [latent, *reversed(hidden), 784]
    return [pair for sizes in (there, back) for pair in pairwise(sizes)]


def _limit(device: torch.device, widths: list[tuple[int, int]], batch: int, steps: int) -> float:
    return steps * (matrix_products(device, widths, batch) + update(device, widths))
