"""Importance sampling compared with the matrix products that it requires."""

from __future__ import annotations

import statistics
from functools import partial
from itertools import pairwise

import torch

import variants
from benchmarks.evaluation.likelihood import log_likelihood_of
from benchmarks.speed.rounds import in_turn
from benchmarks.speed.table import as_table, ratios, seconds_of
from variants.parts.networks import MLP

WIDTHS = (50, 200, 200, 784)
IMAGES, SAMPLES = 20, 5000


def importance_sampling(device: torch.device, repeats: int) -> tuple[str, dict[int, float]]:
    """Time importance sampling: a section of the page, and the seconds per image by the number K of samples."""
    torch.manual_seed(0)
    network = MLP(latent_size=WIDTHS[0], hidden=[200, 200], activation="tanh")
    model = variants.build("vae", (1, 28, 28), network).to(device)
    x = torch.rand(IMAGES, 1, 28, 28, device=device).round()
    timed = {
        "own": partial(seconds_of, partial(log_likelihood_of, model, x, SAMPLES), device),
        "products": partial(seconds_of, partial(_decoder, device), device),
    }
    rounds = in_turn(timed, repeats)
    own, products = rounds.seconds["own"], rounds.seconds["products"]
    full = 10_000 / IMAGES
    rows = [
        ["log p(x), K = 5,000", ratios(products, own), f"{full * statistics.median(own) / 60:.1f}"],
        ["the decoder's matrix products", "1.00", f"{full * statistics.median(products) / 60:.1f}"],
    ]
    table = as_table(["10,000 images of 28x28", "relative (quartiles)", "minutes"], rows)
    by_samples = {}
    for count in (10, 100, 1000, SAMPLES):
        taken = [seconds_of(partial(log_likelihood_of, model, x, count), device) for _ in range(3)]
        by_samples[count] = statistics.median(taken) / IMAGES
    inverse = statistics.median(a / b for a, b in zip(own, products, strict=True))
    text = f"""A decoder of {"-".join(map(str, WIDTHS))}, {SAMPLES:,} samples an image in fp32, timed on {IMAGES}
images; the minutes for 10,000 images are extrapolated. An image is encoded once. The estimate
takes {inverse:.2f} times as long as the decoder's matrix products alone.
{rounds.note}

{table}"""
    return text, by_samples


def _decoder(device: torch.device) -> None:
    """The decoder's matrix products for all images and samples, in parts that fit into the cache."""
    part = 2000
    layers = [torch.randn(before, after, device=device) for before, after in pairwise(WIDTHS)]
    inputs = [torch.randn(part, width, device=device) for width in WIDTHS[:-1]]
    for _ in range(IMAGES * SAMPLES // part):
        for given, weights in zip(inputs, layers, strict=True):
            torch.mm(given, weights)
