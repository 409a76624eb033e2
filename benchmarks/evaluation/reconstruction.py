"""Measures of how close reconstructions are to their images. All take images (n, channels, height, width) in [0, 1].

If a part of every image is given to the model, the error on these pixels is 0 by construction. ``missing``, bool
(n, 1, height, width) with the same number of pixels in all images, selects the pixels that a squared error covers.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

# Small enough for the processor's cache: SSIM takes half the time of batches of 500 images of 28x28.
BATCH = 100
WINDOW, SIGMA = 11, 1.5  # pixels: Wang et al. (2004), section III.C
# A window of one pixel has no variance.
SMALLEST_SIDE = 3
# The window must fit into the last of five scales, after the image was halved four times.
SMALLEST_MULTISCALE_SIDE = WINDOW * 2**4


def mse(x: Tensor, reconstruction: Tensor, missing: Tensor | None = None) -> float:
    """Squared error per pixel channel, averaged over images."""
    return float(_squared_errors(x, reconstruction, missing).mean())


def psnr(x: Tensor, reconstruction: Tensor, smallest: float = 1e-10, missing: Tensor | None = None) -> float:
    """Peak signal-to-noise ratio of each image in dB, averaged over images.

    A squared error per pixel channel below ``smallest`` is replaced by ``smallest``. By default, an image without error
    therefore has 100 dB.
    """
    errors = _squared_errors(x, reconstruction, missing).mean(1).clamp(min=smallest)
    return float((-10 * errors.log10()).mean())


def _squared_errors(x: Tensor, reconstruction: Tensor, missing: Tensor | None) -> Tensor:
    """Squared errors (n, scored pixel channels)."""
    errors = (x - reconstruction).double().square()
    return errors.flatten(1) if missing is None else errors[missing.expand_as(errors)].unflatten(0, (len(x), -1))


def ssim(x: Tensor, reconstruction: Tensor) -> float:
    """Structural similarity (Wang et al. 2004), averaged over images and positions.

    The positions are those at which the Gaussian window, 11 pixels wide with a standard deviation of 1.5, lies inside
    the image. For images of fewer than 11 pixels a side, the window has the largest odd width that fits, and the
    standard deviation is reduced in proportion. Raises ``ValueError`` for images of fewer than 3 pixels a side.
    """
    # Imported here because torchmetrics takes half a second to import.
    from torchmetrics.functional.image import structural_similarity_index_measure

    side = min(x.shape[-2:])
    if side < SMALLEST_SIDE:
        raise ValueError(f"needs images of {SMALLEST_SIDE} pixels a side")
    window = min(WINDOW, side if side % 2 else side - 1)
    margin = window // 2

    def measure(a: Tensor, b: Tensor) -> Tensor:
        # torchmetrics derives the width of a Gaussian window from its standard deviation, 3.5 of them to each side: 11
        # pixels for 1.5.
        _, full = structural_similarity_index_measure(
            a, b, sigma=SIGMA * window / WINDOW, data_range=1.0, return_full_image=True
        )
        # Crop the border, where torchmetrics pads the image by reflection.
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
    """Mean Euclidean distance between features (n, d) of images and of reconstructions, divided by sqrt(d)."""
    return float((features - reconstructed).double().norm(dim=1).mean() / math.sqrt(features.shape[1]))


def _batched(measure: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor) -> float:
    """The mean over images of a measure; ``measure`` returns its sum over a batch."""
    total = torch.zeros((), dtype=torch.double)
    for a, b in zip(x.split(BATCH), y.split(BATCH), strict=True):
        total += measure(b, a).double().cpu()
    return float(total / len(x))
