"""Training loops: this suite's compared with a hand-written one, a peer and the limit of the hardware."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import variants
from benchmarks.config import TrainingConfig
from benchmarks.data import DatasetConfig, training_images
from benchmarks.errors import UserError
from benchmarks.speed.epochs import epochs
from benchmarks.speed.rounds import in_turn
from benchmarks.speed.table import as_table, in_every_repeat, ratios, seconds_of
from benchmarks.training.loop import train
from benchmarks.wording import counted
from variants.parts.networks import MLP

IMAGES, BATCH = 20_000, 100
# Seconds. The slowest loop takes a few.
LONGEST_EPOCH = 600
# More images on a GPU, where an epoch would otherwise take a fraction of a second, much of it for the graph capture.
IMAGES_ON_A_GPU = 200_000
# pythae's default network for MNIST, so that all loops train the same model.
HIDDEN, LATENT = 512, 16
WIDTHS = ((784, HIDDEN), (HIDDEN, 2 * LATENT), (LATENT, HIDDEN), (HIDDEN, 784))
NETWORK = MLP(latent_size=LATENT, hidden=[HIDDEN], activation="relu")
DATA = DatasetConfig(observation="bernoulli", binarise="dynamic")
STATIC = DatasetConfig(observation="bernoulli", binarise="fixed")
HAND, SUITE, BF16 = "hand-written loop", "this suite's loop", "this suite's loop, bf16 autocast"
FIXED = "this suite's loop, static binarisation"
COMPILED = "this suite's loop, compiled"
COMPILED_FIXED = "this suite's loop, compiled, static binarisation"
CAPTURED, HAND_CAPTURED = "this suite's loop, captured", "hand-written loop, captured"
CAPTURED_BF16 = "this suite's loop, captured, bf16 autocast"
PAIR, PAIR_BF16 = "two of this suite's loops at once", "two of this suite's loops at once, bf16 autocast"
PEER = "pythae 0.1.2"
LIMIT, LIMIT_WITH_UPDATE = "matrix products alone", "matrix products and Adam's update alone"
TEXT = f"""One epoch of {{images}} 28x28 images in memory, batches of {BATCH}, a VAE of 784-{HIDDEN}-{LATENT} with
ReLU, Adam, fp32 unless stated otherwise. All loops were timed in turn, {{repeats}}. A ratio above 1 means that the
loop is faster than the hand-written one; it is the median over repeats, with quartiles. – : faster in some repeats
and slower in others, so these measurements show no difference. {{note}}

{{table}}

The hand-written loop is what one would write for this model alone, with `torch.bernoulli` for the binarisation; the
suite compares uniforms instead. pythae trains by its own trainer, all at its defaults, on the same images, which it
does not binarise: the suite's loop is nearest to that with static binarisation. *Matrix products
alone* are forward and backward at the shapes of this batch; *matrix products and Adam's update alone* add one fused
update of all parameters. {{notes}}"""
ON_A_CPU = """Both bound the fp32 loops. Two loops at once share the cores as two runs of a sweep do; their images
per second are added. Compiled loops (`training.compile`) are timed from their second epoch on."""
ON_A_GPU = """Both are launched operation by operation, so they bound the fp32 loops that are not captured. A
captured loop replays its step as one CUDA graph, and its epoch includes the warm-up and the capture."""


def loops(device: torch.device, repeats: int, peers: Path | None) -> str:
    """Time every loop ``repeats`` times and return a section of the page.

    ``peers``: the Python interpreter of an environment with pythae (``make peers``), or None to leave out pythae.
    """
    count = IMAGES_ON_A_GPU if device.type == "cuda" else IMAGES
    images = (torch.rand(count, 1, 28, 28, device=device) * 255).to(torch.uint8)
    binary = training_images(images.cpu(), STATIC).to(device)
    timed: dict[str, Callable[[], float]] = {
        HAND: _timed(_hand_written, images),
        SUITE: _timed(train_eagerly, images),
        FIXED: _timed(lambda given: train_eagerly(given, data=STATIC), binary),
    }
    half_precision = device.type == "cuda" or torch.backends.cpu.get_cpu_capability().startswith(("AVX512", "AMX"))
    if half_precision:
        timed[BF16] = _timed(lambda given: train_eagerly(given, precision="bf16"), images)
    if device.type == "cuda":
        timed[CAPTURED] = _timed(train_once, images)
        timed[CAPTURED_BF16] = _timed(lambda given: train_once(given, precision="bf16"), images)
        timed[HAND_CAPTURED] = _timed(_hand_captured, images)
    else:
        compiled = TrainingConfig(batch_size=BATCH, compile="on")
        timed[COMPILED] = epochs(images, NETWORK, compiled, DATA).__next__
        timed[COMPILED_FIXED] = epochs(binary, NETWORK, compiled, STATIC).__next__
        if (os.cpu_count() or 1) > 1:
            timed[PAIR] = _pair(images, "fp32").__next__
            if half_precision:
                timed[PAIR_BF16] = _pair(images, "bf16").__next__
    if peers:
        timed[PEER] = _peer(peers, images).__next__
    steps = count // BATCH
    timed[LIMIT] = lambda: steps * matrix_products(device, WIDTHS, BATCH)
    timed[LIMIT_WITH_UPDATE] = lambda: steps * (matrix_products(device, WIDTHS, BATCH) + update(device, WIDTHS))
    rounds = in_turn(timed, repeats)
    seconds = rounds.seconds
    reference = seconds.get(PEER)
    relative = ["relative to hand-written (quartiles)", "every time", "relative to pythae (quartiles)"]
    header = ["loop", *relative, "images/s (median)", "range"]
    rows = [
        [
            name,
            ratios(seconds[HAND], own),
            in_every_repeat(seconds[HAND], own),
            ratios(reference, own) if reference else "not measured",
            f"{count / statistics.median(own):,.0f}",
            f"{count / max(own):,.0f} to {count / min(own):,.0f}",
        ]
        for name, own in seconds.items()
    ]
    if not peers:
        rows.append([PEER, *["not measured"] * (len(header) - 1)])
    return TEXT.format(
        images=f"{count:,}",
        table=as_table(header, rows),
        repeats=counted(repeats, "time"),
        note=rounds.note,
        notes=ON_A_GPU if device.type == "cuda" else ON_A_CPU,
    )


def _timed(loop: Callable[[Tensor], None], images: Tensor) -> Callable[[], float]:
    return lambda: seconds_of(lambda: loop(images), images.device)


def train_once(
    images: Tensor,
    batch: int = BATCH,
    network: MLP = NETWORK,
    precision: str = "fp32",
    data: DatasetConfig = DATA,
) -> None:
    """One epoch of this suite's loop on ``images`` (n, 1, 28, 28), uint8."""
    torch.manual_seed(0)
    model = variants.build("vae", (1, 28, 28), network).to(images.device)
    config = TrainingConfig(epochs=1, batch_size=batch, precision=precision)
    train(model, images, data, config, seed=0, show_progress=False)


def train_eagerly(*arguments: Any, **options: Any) -> None:
    """Like :func:`train_once`, without capturing steps as a CUDA graph on a GPU."""
    with mock.patch.dict(os.environ, {"VAE_CAPTURE": "0"}):
        train_once(*arguments, **options)


def _pair(images: Tensor, precision: str) -> Iterator[float]:
    """Yield half the seconds that two concurrent loops, each on half of the threads, take for an epoch each."""
    context = multiprocessing.get_context("spawn")
    # Without a time limit, the others would wait for ever if one of the processes died.
    barrier = context.Barrier(3, timeout=LONGEST_EPOCH)
    threads = max(1, torch.get_num_threads() // 2)
    processes = [
        context.Process(target=_one_of_two, args=(images.cpu(), threads, precision, barrier), daemon=True)
        for _ in range(2)
    ]
    for process in processes:
        process.start()
    try:
        while True:
            barrier.wait()
            started = time.perf_counter()
            barrier.wait()
            yield (time.perf_counter() - started) / 2
    finally:
        for process in processes:
            process.kill()


def _one_of_two(images: Tensor, threads: int, precision: str, barrier: Barrier) -> None:
    torch.set_num_threads(threads)
    while True:
        barrier.wait()
        train_once(images, precision=precision)
        barrier.wait()


class _HandWritten(nn.Module):
    """The model as one would write it without this suite."""

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


def _hand_captured(images: Tensor) -> None:
    """One epoch of the hand-written step as a CUDA graph, warmed up and captured as in the PyTorch documentation."""
    torch.manual_seed(0)
    model = _HandWritten().to(images.device)
    optimiser = torch.optim.Adam(model.parameters(), 1e-3, fused=True, capturable=True)
    flat = images.flatten(1)
    rows = torch.zeros(BATCH, dtype=torch.long, device=flat.device)

    def step() -> None:
        loss = model(torch.bernoulli(flat[rows].float() / 255))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    for part in torch.randperm(len(flat), device=flat.device).split(BATCH):
        rows.copy_(part)
        graph.replay()


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


def _peer(python: Path, images: Tensor) -> Iterator[float]:
    """Yield the seconds of one epoch by pythae, repeatedly. Its process waits between epochs."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npy"
        np.save(path, images.cpu().numpy())
        script = Path(__file__).resolve().parent / "peers" / "pythae_loop.py"
        command = [str(python.absolute()), str(script), str(path), str(torch.get_num_threads())]
        messages = Path(folder) / "messages"
        with messages.open("w") as file:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, text=True, cwd=folder
            )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            while True:
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.write("go\n")
                    process.stdin.flush()
                if not (line := process.stdout.readline()):
                    last = messages.read_text(errors="replace").strip().rpartition("\n")[2]
                    raise UserError(f"{PEER} could not be measured: {last or 'its process ended without a message'}")
                yield float(line)
        finally:
            process.kill()
            with contextlib.suppress(BrokenPipeError):
                process.communicate()


def matrix_products(device: torch.device, widths: Sequence[tuple[int, int]], batch: int) -> float:
    """Seconds of the matrix products of one training step through layers of these ``widths``.

    These are the forward products, the gradients of all weights, and the gradients of the inputs of all layers but the
    first.
    """
    total = 0.0
    for number, (before, after) in enumerate(widths):
        x, w, g = (torch.randn(*shape, device=device) for shape in ((batch, before), (before, after), (batch, after)))
        total += _product(x, w) + _product(x.T, g) + (_product(g, w.T) if number else 0.0)
    return total


def _product(a: Tensor, b: Tensor) -> float:
    return _mean_seconds(lambda: torch.mm(a, b), a.device)


def update(device: torch.device, widths: Sequence[tuple[int, int]]) -> float:
    """Seconds of one fused Adam update of the weights and biases of layers of these ``widths``."""
    shapes = [shape for before, after in widths for shape in ((after, before), (after,))]
    parameters = [torch.randn(*shape, device=device, requires_grad=True) for shape in shapes]
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    return _mean_seconds(torch.optim.Adam(parameters, 1e-3, fused=True).step, device)


def _mean_seconds(work: Callable[[], object], device: torch.device, count: int = 100) -> float:
    work()
    return seconds_of(work, device, count) / count
