"""How close a reconstruction is to its image. All take images (n, channels, height, width) in [0, 1].

Where a part of every image is given to the model, its error is 0 by construction: ``missing``, bool (n, 1, height,
width) and equally many pixels in all images, says which pixels a squared error is over.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

# Small enough for the processor's cache: SSIM takes half the time that it does on 500 images of 28x28 at once.
BATCH = 100
WINDOW, SIGMA = 11, 1.5  # pixels: Wang et al. (2004), section III.C
# A window of one pixel has no variance.
SMALLEST_SIDE = 3
# The last of five scales, four times halved, must still hold the window.
SMALLEST_MULTISCALE_SIDE = WINDOW * 2**4


def mse(x: Tensor, reconstruction: Tensor, missing: Tensor | None = None) -> float:
    """Squared error per pixel channel, averaged over images."""
    return float(_squared_errors(x, reconstruction, missing).mean())


def psnr(x: Tensor, reconstruction: Tensor, smallest: float = 1e-10, missing: Tensor | None = None) -> float:
    """Peak signal-to-noise ratio in dB, of each image, averaged over images. A squared error per pixel channel below
    ``smallest`` counts as that: an image without error has 100 dB by default."""
    errors = _squared_errors(x, reconstruction, missing).mean(1).clamp(min=smallest)
    return float((-10 * errors.log10()).mean())


def _squared_errors(x: Tensor, reconstruction: Tensor, missing: Tensor | None) -> Tensor:
    """(n, pixel channels that count)."""
    errors = (x - reconstruction).double().square()
    return errors.flatten(1) if missing is None else errors[missing.expand_as(errors)].unflatten(0, (len(x), -1))


def ssim(x: Tensor, reconstruction: Tensor) -> float:
    """Structural similarity (Wang et al. 2004), averaged over images and over all positions at which the Gaussian
    window, 11 pixels wide with a standard deviation of 1.5, lies inside the image. For images of fewer than 11 pixels a
    side the window is the largest odd one that fits, and its standard deviation shrinks alike. Raises ``ValueError``
    below 3 pixels a side."""
    # Here, because torchmetrics takes half a second to import.
    from torchmetrics.functional.image import structural_similarity_index_measure

    side = min(x.shape[-2:])
    if side < SMALLEST_SIDE:
        raise ValueError(f"needs images of {SMALLEST_SIDE} pixels a side")
    window = min(WINDOW, side if side % 2 else side - 1)
    margin = window // 2

    def measure(a: Tensor, b: Tensor) -> Tensor:
        # The library takes a Gaussian window's width from its standard deviation, 3.5 of them to each side: 11 for 1.5.
        _, full = structural_similarity_index_measure(
            a, b, sigma=SIGMA * window / WINDOW, data_range=1.0, return_full_image=True
        )
        # At the border it reflects the image.
        return full[..., margin:-margin, margin:-margin].flatten(1).double().mean(1).sum()

    return _batched(measure, x, reconstruction)


def ms_ssim(x: Tensor, reconstruction: Tensor) -> float:
    """Multi-scale SSIM (Wang et al. 2003). Raises ``ValueError`` for images of fewer than 176 pixels a side."""
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    if min(x.shape[-2:]) < SMALLEST_MULTISCALE_SIDE:
        raise ValueError(f"needs images of {SMALLEST_MULTISCALE_SIDE} pixels a side")

    def measure(a: Tensor, b: Tensor) -> Tensor:
        return multiscale_structural_similarity_index_measure(
            a, b, sigma=SIGMA, kernel_size=WINDOW, data_range=1.0, reduction="sum"
        )

    return _batched(measure, x, reconstruction)


def feature_distance(features: Tensor, reconstructed: Tensor) -> float:
    """Euclidean distance between an image's features (n, d) and its reconstruction's, over the square root of d."""
    return float((features - reconstructed).double().norm(dim=1).mean() / math.sqrt(features.shape[1]))


def _batched(measure: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor) -> float:
    """The mean over images of what ``measure`` sums over a batch of them."""
    total = torch.zeros((), dtype=torch.double)
    for a, b in zip(x.split(BATCH), y.split(BATCH), strict=True):
        total += measure(b, a).double().cpu()
    return float(total / len(x))
