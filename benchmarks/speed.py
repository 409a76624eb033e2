"""``make speed``: the training loop beside a hand-written loop of the same model, batch and data, in one run.

Ratios are what counts: both loops run in turn, in the same process; each repeat gives one ratio, and their median is
the result. A machine that slows down for a minute slows both loops of a repeat.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import torch
import torch.nn.functional as F
from tabulate import tabulate
from torch import Tensor, nn

import variants
from benchmarks.config import TrainingConfig
from benchmarks.data import DatasetConfig
from benchmarks.environment import choose_device, describe
from benchmarks.results import write_atomically
from benchmarks.training import train
from variants.networks import MLP

IMAGES, BATCH = 20_000, 100
HIDDEN, LATENT = 400, 50
DATA = DatasetConfig(observation="bernoulli", binarise="dynamic")


def measure(reports: Path, repeats: int) -> str:
    """Time both loops ``repeats`` times, write ``reports``/speed.md and return its table."""
    device = choose_device("auto")
    images = (torch.rand(IMAGES, 1, 28, 28, device=device) * 255).to(torch.uint8)
    loops: dict[str, Callable[[Tensor], None]] = {"this suite's loop": _suite, "hand-written loop": _hand_written}
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    for repeat in range(repeats + 1):
        for name, loop in loops.items():
            started = time.perf_counter()
            loop(images)
            if device.type == "cuda":
                torch.cuda.synchronize()
            # The first round warms up caches and allocators.
            if repeat:
                seconds[name].append(time.perf_counter() - started)
    table = tabulate(
        [
            [name, _ratios(seconds["hand-written loop"], own), f"{IMAGES / statistics.median(own):,.0f}", _range(own)]
            for name, own in seconds.items()
        ],
        ["loop", "relative to hand-written (range)", "images/s (median)", "range"],
        tablefmt="pipe",
        colalign=("left", "right", "right", "right"),
        disable_numparse=True,
    )
    write_atomically(reports / "speed.md", _page(table, repeats, device).encode())
    return table


def _ratios(reference: list[float], own: list[float]) -> str:
    """The median of the repeats' ratios, and the lowest and highest of them."""
    ratios = [a / b for a, b in zip(reference, own, strict=True)]
    if min(ratios) == max(ratios):
        return f"{statistics.median(ratios):.2f}"
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def _range(seconds: list[float]) -> str:
    return f"{IMAGES / max(seconds):,.0f} to {IMAGES / min(seconds):,.0f}"


def _page(table: str, repeats: int, device: torch.device) -> str:
    machine = describe(device)
    return f"""# Speed

One epoch of {IMAGES:,} binarised 28x28 images, batches of {BATCH}, a VAE of 784-{HIDDEN}-{HIDDEN}-{LATENT}, Adam, fp32.
Both loops ran in turn in one process, {repeats} times; the ratio is the median of the repeats' ratios. Absolute rates
wander with the machine's load, ratios much less.

{table}

{machine["device"]}, {machine["threads"]} threads, torch {machine["torch"]}, Python {machine["python"]}, commit
{machine["commit"][:10]}{"+" if machine["dirty"] else ""}, {datetime.now(UTC):%Y-%m-%d}. On a GPU: not measured here.

Run it again: `make speed`.
"""


def _suite(images: Tensor) -> None:
    torch.manual_seed(0)
    network = MLP(latent_size=LATENT, hidden=[HIDDEN, HIDDEN], activation="relu")
    model = variants.build("vae", (1, 28, 28), network).to(images.device)
    train(model, images, DATA, TrainingConfig(epochs=1, batch_size=BATCH), seed=0, show_progress=False)


class _HandWritten(nn.Module):
    """What one would write for this model alone."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(784, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2 * LATENT)
        )
        self.decoder = nn.Sequential(
            nn.Linear(LATENT, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 784)
        )

    def forward(self, x: Tensor) -> Tensor:
        mu, log_variance = self.encoder(x).chunk(2, -1)
        z = mu + (0.5 * log_variance).exp() * torch.randn_like(mu)
        r = F.binary_cross_entropy_with_logits(self.decoder(z), x, reduction="sum")
        kl = -0.5 * (1 + log_variance - mu.square() - log_variance.exp()).sum()
        return (r + kl) / len(x)


def _hand_written(images: Tensor) -> None:
    torch.manual_seed(0)
    model = _HandWritten().to(images.device)
    optimiser = torch.optim.Adam(model.parameters(), 1e-3, fused=True)
    flat = images.flatten(1)
    for rows in torch.randperm(len(flat), device=flat.device).split(BATCH):
        x = torch.bernoulli(flat[rows].float() / 255)
        loss = model(x)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
