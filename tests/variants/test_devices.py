"""A training step stays on the model's device.

It creates its tensors there, copies none to it, and reads no value from it, for which the host would have to wait. The
tests use torch's "meta" device, whose tensors have no values that could be read.
"""

import contextlib

import pytest
import torch
from torch.overrides import TorchFunctionMode

import variants
from benchmarks.training.steps.eager import backward
from variants import Batch

from .models import Layers, batch, binary_images, small

META = torch.device("meta")


class OnlyThere(TorchFunctionMode):
    """Refuse operations on tensors of another device, except single numbers, which are passed along with a call."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        if function in (torch.tensor, torch.as_tensor, torch.Tensor.new_tensor) and found.device == META:
            raise AssertionError(f"{function.__name__}: host data on meta")
        given = [
            part for one in (*args, *(kwargs or {}).values()) for part in (one if type(one) in (list, tuple) else [one])
        ]
        for tensor in (*given, found):
            if isinstance(tensor, torch.Tensor) and tensor.dim() and tensor.device != META:
                raise AssertionError(f"{function.__name__} on {tensor.device}")
        return found


def step(model):
    given = batch(binary_images(6, (1, 8, 8)))
    there = Batch(given.images.to(META), given.condition.to(META), given.labels.to(META), given.training_images)
    model = model.to(META).train()
    if model.needs_teacher:
        model.use_teacher(Layers().to(META))
    with OnlyThere():
        backward(model.loss(there, torch.zeros((), device=META)).by_group, model.parameter_groups())
        model.after_step()


@pytest.fixture(autouse=True)
def no_autocast(monkeypatch):
    """Disable autocast, which does not support the meta device."""
    monkeypatch.setattr(torch, "autocast", lambda *arguments, **options: contextlib.nullcontext())


@pytest.mark.parametrize(
    ("name", "form"), [(name, form) for name in variants.names() for form in ({}, *variants.lookup(name).forms)]
)
def test_a_step_stays_on_the_models_device(name, form):
    step(small(name, (1, 8, 8), **form))


@pytest.mark.parametrize(
    "slip",
    [
        lambda loss: torch.tensor([1.0, 2.0]).to(loss).sum() + loss,
        lambda loss: torch.stack([torch.ones(2), torch.ones(2)]).to(loss).sum() + loss,
        lambda loss: loss.new_tensor([1.0, 2.0]).sum() + loss,
        lambda loss: torch.tensor(2.0, device=META) * loss,
        lambda loss: loss + loss.item(),
        lambda loss: loss if loss > 0 else -loss,
    ],
)
def test_a_copy_to_the_device_and_a_value_read_from_it_are_noticed(slip):
    class Slipping(variants.lookup("vae")):
        def after_step(self):
            slip(next(self.parameters()).sum())

    with pytest.raises((AssertionError, RuntimeError), match=r"on cpu|meta"):
        step(small(Slipping, (1, 8, 8)))
