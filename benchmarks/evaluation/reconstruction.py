"""How close a reconstruction is to its image. All take images (n, channels, height, width) in [0, 1]."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Small enough for the processor's cache: SSIM takes half the time that it does on 500 images of 28x28 at once.
BATCH = 100
WINDOW = 11  # pixels: Wang et al. (2004)
# Five scales of the window's reach: the smallest side that MS-SSIM is defined for.
SMALLEST_MULTISCALE_SIDE = (WINDOW - 1) * 2**4 + 1


def mse(x: Tensor, reconstruction: Tensor) -> float:
    """Squared error per pixel channel, averaged over images."""
    return float((x - reconstruction).double().square().mean())


def psnr(x: Tensor, reconstruction: Tensor) -> float:
    """Peak signal-to-noise ratio in dB, of each image, averaged over images; an image without error counts 100 dB."""
    errors = (x - reconstruction).double().square().flatten(1).mean(1).clamp(min=1e-10)
    return float((-10 * errors.log10()).mean())


def ssim(x: Tensor, reconstruction: Tensor) -> float:
    """Structural similarity (Wang et al. 2004), averaged over images; a window of 11 pixels, fewer where an image is
    smaller."""
    # Here, because torchmetrics takes half a second to import.
    from torchmetrics.functional.image import structural_similarity_index_measure

    side = min(x.shape[-2:])
    window = min(WINDOW, side if side % 2 else side - 1)
    return _batched(structural_similarity_index_measure, x, reconstruction, kernel_size=window, gaussian_kernel=False)


def ms_ssim(x: Tensor, reconstruction: Tensor) -> float:
    """Multi-scale SSIM (Wang et al. 2003). Raises ``ValueError`` for images of fewer than 161 pixels a side."""
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    if min(x.shape[-2:]) < SMALLEST_MULTISCALE_SIDE:
        raise ValueError(f"images below {SMALLEST_MULTISCALE_SIDE} pixels a side have no five scales")
    return _batched(multiscale_structural_similarity_index_measure, x, reconstruction)


def feature_distance(features: Tensor, reconstructed: Tensor) -> float:
    """Euclidean distance between an image's features (n, d) and its reconstruction's, over the square root of d."""
    return float((features - reconstructed).double().norm(dim=1).mean() / math.sqrt(features.shape[1]))


def _batched(measure: object, x: Tensor, y: Tensor, **options: object) -> float:
    total = torch.zeros((), dtype=torch.double)
    for a, b in zip(x.split(BATCH), y.split(BATCH), strict=True):
        total += measure(b, a, data_range=1.0, reduction="sum", **options).double().cpu()  # type: ignore[operator]
    return float(total / len(x))
