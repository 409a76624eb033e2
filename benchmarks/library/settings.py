"""The settings of torch that calls of the library run under, whatever those of their caller are."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from benchmarks.training.loop import tensor_float_32


@contextlib.contextmanager
def own_settings(gradients: bool = False) -> Iterator[None]:
    """Run the block, or the decorated call, under the settings of the suite, and restore the caller's.

    The suite computes in float32, with neither autocast nor TF32, makes tensors on the CPU unless it names a device,
    and records ``gradients`` only for training.
    """
    dtype = torch.get_default_dtype()
    with contextlib.ExitStack() as settings:
        settings.callback(torch.set_default_dtype, dtype)
        torch.set_default_dtype(torch.float32)
        # A default device slows down every call of torch, even if it is the CPU.
        if torch.get_default_device().type != "cpu":
            settings.enter_context(torch.device("cpu"))
        settings.enter_context(torch.inference_mode(False))
        settings.enter_context(torch.set_grad_enabled(gradients))
        for kind in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
            settings.enter_context(torch.autocast(kind, enabled=False))
        settings.enter_context(tensor_float_32(False))
        yield
