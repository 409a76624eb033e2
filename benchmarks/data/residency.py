"""Where training images lie: on the device if they fit there, else where they are, and batches are sent one by one."""

from __future__ import annotations

import torch
from torch import Tensor

# The share of a device's free memory that a data set may take; the rest is for the model and the evaluation.
SHARE = 0.5


def place(images: Tensor, device: torch.device) -> Tensor:
    """``images`` on ``device`` if they take no more than half of its free memory, else unchanged.

    A memory map is used as it is by the CPU: the system keeps in memory what it has room for.
    """
    if device.type == "cuda" and images.nbytes > SHARE * torch.cuda.mem_get_info(device)[0]:
        return images
    return images.to(device)
