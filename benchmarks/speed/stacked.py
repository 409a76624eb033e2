"""Several seeds as one batched model, compared with the same seeds in turn."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.func import functional_call, grad, stack_module_state, vmap

import variants
from benchmarks.speed import rounds
from benchmarks.speed.table import as_table, ratios, seconds_of
from variants import Batch, Variant
from variants.parts.networks import MLP

SEEDS, BATCH, STEPS = 4, 100, 50


class _Objective(torch.nn.Module):
    """A module whose forward is a variant's loss, so that the parameters of several variants can be stacked."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.variant = variant

    def forward(self, x: Tensor, progress: Tensor) -> Tensor:
        return self.variant.loss(Batch(x), progress).by_group["model"]


def seeds_stacked(device: torch.device, repeats: int) -> str:
    """Time the gradients of four seeds with ``stack_module_state`` and ``vmap``, and in turn: a section of the page."""
    x = torch.rand(SEEDS, BATCH, 1, 28, 28, device=device).round()
    progress = torch.zeros((), device=device)
    rows, notes = [], []
    for hidden in ([200, 200], [512]):
        objectives = [_Objective(_model(hidden, seed, device)) for seed in range(SEEDS)]
        parameters, buffers = stack_module_state(objectives)

        def loss(weights: dict[str, Tensor], kept: dict[str, Tensor], batch: Tensor) -> Tensor:
            return functional_call(objectives[0], (weights, kept), (batch, progress))  # noqa: B023

        def in_turn() -> None:
            for objective, batch in zip(objectives, x, strict=True):  # noqa: B023
                torch.autograd.grad(objective(batch, progress), list(objective.parameters()))

        together = partial(vmap(grad(loss), randomness="different"), parameters, buffers, x)
        steps: dict[str, Callable[[], object]] = {"in turn": in_turn, "stacked": together}
        timed = {name: partial(seconds_of, step, device, STEPS) for name, step in steps.items()}
        found = rounds.in_turn(timed, repeats)
        taken = found.seconds
        notes.append(found.note)
        rows.append([f"784-{'-'.join(map(str, hidden))}-16", ratios(taken["in turn"], taken["stacked"]),
                     f"{1000 * statistics.median(taken['stacked']) / STEPS:.1f}"])  # fmt: skip
    table = as_table(["network", "stacked relative to in turn (quartiles)", "ms a stacked step"], rows)
    return f"""The gradients of {SEEDS} seeds of a `vae` at batch {BATCH}, as one batched model (`torch.func`), beside
one seed after the other. Sweeps do not use this; it would be worth it from a factor of 2 on a GPU.
{" ".join(dict.fromkeys(filter(None, notes)))}

{table}"""


def _model(hidden: list[int], seed: int, device: torch.device) -> Variant:
    torch.manual_seed(seed)
    network = MLP(latent_size=16, hidden=hidden, activation="relu")
    return variants.build("vae", (1, 28, 28), network).to(device)
