"""``make speed``: this suite's training loop beside a hand-written one, a peer and the hardware's limit, in one run.

Ratios are what counts: the loops run in turn; each repeat gives one ratio, and their median is the result. A machine
that slows down for a minute slows all loops of a repeat.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from tabulate import tabulate
from torch import Tensor, nn

import variants
from benchmarks import sweep
from benchmarks.cell import Setting
from benchmarks.config import CONF_VARIABLE, TrainingConfig, compose
from benchmarks.data import DatasetConfig
from benchmarks.environment import choose_device, describe
from benchmarks.results import write_atomically
from benchmarks.training import train
from variants.networks import MLP

IMAGES, BATCH = 20_000, 100
# pythae's default network for MNIST, so that all train the same model.
HIDDEN, LATENT = 512, 16
DATA = DatasetConfig(observation="bernoulli", binarise="dynamic")
HAND, SUITE, BF16 = "hand-written loop", "this suite's loop", "this suite's loop, bf16 autocast"
PEER, LIMIT = "pythae 0.1.2", "matrix products alone"
# Two small cells: 784-200-200-32 on synthetic images, long enough that starting a process does not matter.
SMALL_CELL = ("network.hidden=[200,200]", "training.epochs=30", "training.validate_every=30")


def measure(reports: Path, repeats: int, peers: Path | None) -> str:
    """Time everything ``repeats`` times, write ``reports``/speed.md and return its tables. ``peers`` is the interpreter
    of an environment that has pythae (``make peers``), None for none."""
    device = choose_device("auto")
    images = (torch.rand(IMAGES, 1, 28, 28, device=device) * 255).to(torch.uint8)
    loops: dict[str, Callable[[Tensor], None]] = {HAND: _hand_written, SUITE: _suite}
    if device.type == "cuda" or torch.backends.cpu.get_cpu_capability().startswith(("AVX512", "AMX")):
        loops[BF16] = lambda given: _suite(given, "bf16")
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    peer = _peer(peers, images, repeats) if peers else iter(())
    next(peer, None)  # its warm-up
    for repeat in range(repeats + 1):
        for name, loop in loops.items():
            started = time.perf_counter()
            loop(images)
            if device.type == "cuda":
                torch.cuda.synchronize()
            # The first round warms up caches and allocators.
            if repeat:
                seconds[name].append(time.perf_counter() - started)
        if repeat and (taken := next(peer, None)) is not None:
            seconds.setdefault(PEER, []).append(taken)
    seconds[LIMIT] = [_matrix_products(device) * IMAGES / BATCH for _ in range(repeats)]
    reference = seconds.get(PEER)
    header = ["loop", "relative to hand-written (range)", "relative to pythae", "images/s (median)", "range"]
    rows = [
        [
            name,
            _ratios(seconds[HAND], own),
            _ratios(reference, own) if reference else "not measured",
            f"{IMAGES / statistics.median(own):,.0f}",
            _range(own),
        ]
        for name, own in seconds.items()
    ]
    table = tabulate(rows, header, tablefmt="pipe", colalign=("left", *["right"] * 4), disable_numparse=True)
    side = _side_by_side(device, max(1, repeats // 3))
    write_atomically(reports / "speed.md", _page(table, side, repeats, device).encode())
    return f"{table}\n\n{side}"


def _ratios(reference: list[float], own: list[float]) -> str:
    """The median of the repeats' ratios, and the lowest and highest of them."""
    ratios = [a / b for a, b in zip(reference, own, strict=True)]
    if min(ratios) == max(ratios):
        return f"{statistics.median(ratios):.2f}"
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def _range(seconds: list[float]) -> str:
    return f"{IMAGES / max(seconds):,.0f} to {IMAGES / min(seconds):,.0f}"


def _page(table: str, side: str, repeats: int, device: torch.device) -> str:
    machine = describe(device)
    return f"""# Speed

One epoch of {IMAGES:,} 28x28 images in memory, batches of {BATCH}, a VAE of 784-{HIDDEN}-{LATENT} with rectifiers,
Adam, fp32 unless said otherwise. All loops ran in turn, {repeats} times; a ratio is the median of the repeats' ratios,
above 1 where the loop is the faster one. Absolute rates wander with the machine's load, ratios much less.

{table}

The hand-written loop is what one would write for this model alone, with `torch.bernoulli` for the binarisation; the
suite compares uniforms instead. pythae trains by its own trainer, all at its defaults, on the same images, which it
does not binarise. The last row is the forward and backward matrix products alone, at the shapes of this batch.

## Cells side by side

Two cells of 784-200-200-32, with their evaluation, one after the other on all threads, and at the same time on half of
them each (`JOBS=2`):

{side}

{machine["device"]}, {machine["threads"]} threads, torch {machine["torch"]}, Python {machine["python"]}, commit
{machine["commit"][:10]}{"+" if machine["dirty"] else ""}, {datetime.now(UTC):%Y-%m-%d}. On a GPU: not measured here.

Run it again: `make peers` once, for pythae's environment, then `make speed`.
"""


def _suite(images: Tensor, precision: str = "fp32") -> None:
    torch.manual_seed(0)
    network = MLP(latent_size=LATENT, hidden=[HIDDEN], activation="relu")
    model = variants.build("vae", (1, 28, 28), network).to(images.device)
    config = TrainingConfig(epochs=1, batch_size=BATCH, precision=precision)
    train(model, images, DATA, config, seed=0, show_progress=False)


class _HandWritten(nn.Module):
    """What one would write for this model alone."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(784, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2 * LATENT))
        self.decoder = nn.Sequential(nn.Linear(LATENT, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 784))

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


def _peer(python: Path, images: Tensor, repeats: int) -> Iterator[float]:
    """Seconds of one epoch by pythae, one number a repeat, the first a warm-up; its process waits between them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npy"
        np.save(path, images.cpu().numpy())
        script = Path(__file__).resolve().parent / "peers" / "pythae_loop.py"
        command = [str(python.absolute()), str(script), str(path), str(repeats), str(torch.get_num_threads())]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=folder
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            for _ in range(repeats + 1):
                process.stdin.write("go\n")
                process.stdin.flush()
                yield float(process.stdout.readline())
        finally:
            process.kill()
            process.communicate()


def _matrix_products(device: torch.device) -> float:
    """Seconds of one step's matrix products: forward, the weights' gradients, and the inputs' but the first's."""
    widths = [(784, HIDDEN), (HIDDEN, 2 * LATENT), (LATENT, HIDDEN), (HIDDEN, 784)]
    total = 0.0
    for number, (before, after) in enumerate(widths):
        x, w, g = (torch.randn(*shape, device=device) for shape in ((BATCH, before), (before, after), (BATCH, after)))
        total += _time(x, w) + _time(x.T, g) + (_time(g, w.T) if number else 0.0)
    return total


def _time(a: Tensor, b: Tensor, count: int = 100) -> float:
    torch.mm(a, b)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(count):
        torch.mm(a, b)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return (time.perf_counter() - started) / count


def _side_by_side(device: torch.device, repeats: int) -> str:
    """Two cells in turn and at once: a table of seconds and their ratio."""
    seconds: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        generator = np.random.default_rng(0)
        images = generator.integers(0, 256, size=(IMAGES + 1000, 1, 28, 28), dtype=np.uint8)
        np.save(folder / "images.npy", images)
        conf = folder / "conf" / "dataset"
        conf.mkdir(parents=True)
        (conf / "synthetic.yaml").write_text(
            f"name: synthetic\nsource: array\ntitle: synthetic\npath: {folder / 'images.npy'}\nobservation: bernoulli\n"
            "binarise: dynamic\nvalidation_share: 0.02\ntest_share: 0.02\n"
        )
        with mock.patch.dict(os.environ, {CONF_VARIABLE: str(folder / "conf")}):
            cells = [compose("vae", "synthetic", "smoke", seed, SMALL_CELL) for seed in (0, 1)]
            for repeat in range(repeats):
                for jobs in seconds:
                    setting = Setting(
                        folder / f"{jobs}-{repeat}", folder, folder / "cache", device, show_progress=False
                    )
                    started = time.perf_counter()
                    summary = sweep.run(cells, setting, jobs=jobs)
                    seconds[jobs].append(time.perf_counter() - started)
                    assert not summary.failed, summary.failed[0].error
    rows = [
        ["one after the other", "1.00", f"{statistics.median(seconds[1]):.0f}"],
        ["side by side", _ratios(seconds[1], seconds[2]), f"{statistics.median(seconds[2]):.0f}"],
    ]
    header = ["two cells", "relative (range)", "seconds (median)"]
    return tabulate(rows, header, tablefmt="pipe", colalign=("left", "right", "right"), disable_numparse=True)
