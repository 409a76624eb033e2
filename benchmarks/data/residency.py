"""Where training images are stored: on the device if they fit there.

Otherwise they stay where they are, and batches are sent to the device one by one.
"""

from __future__ import annotations

import torch
from torch import Tensor

# The share of a device's free memory that a data set may take. The rest is for the model and the evaluation.
SHARE = 0.5


def place(images: Tensor, device: torch.device) -> Tensor:
    """``images`` on ``device`` if they take no more than half of its free memory, else unchanged.

    The CPU uses a memory map directly: the operating system keeps in memory what it has room for.
    """
    if device.type == "cuda" and images.nbytes > SHARE * torch.cuda.mem_get_info(device)[0]:
        return images
    return images.to(device)
