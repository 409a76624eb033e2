"""MS-SSIM-VAE, a VAE with a reconstruction loss on structural similarity."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import TrainingStep, Variant, VariantConfig
from .options import positive
from .registry import register

# Wang et al. (2004), section III.C: a Gaussian window, and the constants for pixels in [0, 1].
WINDOW, SIGMA = 11, 1.5
C1, C2 = 0.01**2, 0.03**2
# Wang et al. (2003), section 3.2: the exponents of five scales, the finest first.
EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
SMALLEST_SIDE = 3
# The lower bound of a mean structure term: the power of a negative one is NaN, and the gradient at 0 is not finite.
LEAST = 1e-6


@dataclass
class MSSSIMConfig(VariantConfig):
    """``weight`` is the weight of the MS-SSIM term."""

    weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("variant.weight", self.weight)


def window_size(side: int) -> int:
    """The width of the window for images of ``side`` pixels: 11, or the largest odd number that fits."""
    return min(WINDOW, side if side % 2 else side - 1)


def levels(side: int) -> int:
    """The number of scales for images of ``side`` pixels: the largest with (window - 1) 2^(levels - 1) < side, at most
    five."""
    count = 1
    while count < len(EXPONENTS) and (window_size(side) - 1) * 2**count < side:
        count += 1
    return count


def exponents_of(count: int) -> list[float]:
    """The exponents of the first ``count`` scales; if there are fewer than five, divided by their sum."""
    kept = EXPONENTS[:count]
    return list(kept) if count == len(EXPONENTS) else [exponent / sum(kept) for exponent in kept]


def gaussian_window(size: int, device: torch.device | None = None) -> Tensor:
    """A Gaussian window (size,) that sums to 1, float64. Its standard deviation is proportional to ``size``, 1.5 for 11
    pixels."""
    distance = torch.arange(size, dtype=torch.float64, device=device) - (size - 1) / 2
    window = (-distance.square() / (2 * (SIGMA * size / WINDOW) ** 2)).exp()
    return window / window.sum()


def ms_ssim(x: Tensor, y: Tensor) -> Tensor:
    """Multi-scale structural similarity of each pair of images in [0, 1], both (n, channels, height, width): (n,), at
    most 1.

    Means are over channels and over the positions at which the window is inside the image. The smaller side determines
    the number of scales; see :func:`levels`.
    """
    side = min(x.shape[-2:])
    window = gaussian_window(window_size(side), x.device).to(x)
    exponents = exponents_of(levels(side))
    similarity = torch.ones((), dtype=x.dtype, device=x.device)
    # Variances are small differences of means, which autocast would round to bfloat16.
    with torch.autocast(x.device.type, enabled=False):
        y = y.to(x)
        for level, exponent in enumerate(exponents):
            luminance, structure = _statistics(x, y, window)
            last = level == len(exponents) - 1
            # Luminance is compared only at the coarsest scale.
            factor = (luminance * structure if last else structure).flatten(1).mean(1)
            similarity = similarity * factor.clamp(min=LEAST) ** exponent
            # ceil_mode keeps the last row and column of an odd side, so that the window fits at all levels() scales.
            x, y = F.avg_pool2d(x, 2, ceil_mode=True), F.avg_pool2d(y, 2, ceil_mode=True)
    return similarity


def _statistics(x: Tensor, y: Tensor, window: Tensor) -> tuple[Tensor, Tensor]:
    """The luminance term l and the contrast-structure term cs of SSIM at every position (Wang et al. 2004, eqs. 6 and
    13)."""

    def blur(image: Tensor) -> Tensor:
        flat = image.flatten(0, 1)[:, None]
        blurred = F.conv2d(F.conv2d(flat, window[None, None, :, None]), window[None, None, None, :])
        return blurred.unflatten(0, image.shape[:2])

    mean_x, mean_y = blur(x), blur(y)
    variances = blur(x.square() + y.square()) - mean_x.square() - mean_y.square()
    covariance = blur(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + C1) / (mean_x.square() + mean_y.square() + C1)
    return luminance, (2 * covariance + C2) / (variances + C2)


@register("msssim_vae")
class MSSSIMVAE(Variant):
    """MS-SSIM-VAE: a reconstruction loss on structural similarity at several scales instead of pixels.

        loss = weight D (1 - MS-SSIM(x, x_hat)) + KL,    MS-SSIM = mean(l_L cs_L)^w_L prod_{j<L} mean(cs_j)^w_j

    l_L compares the means inside a Gaussian window of 11 pixels (standard deviation 1.5) at the coarsest of L scales.
    cs_j compares the contrast and the structure at scale j. The means are over the positions of the window. D is the
    number of pixel channels: the factor D gives a mean over positions the weight of a sum over pixels. x_hat is the
    likelihood's mean.

    References:
        Snell et al., *Learning to Generate Images with Perceptual Similarity Metrics*, ICIP 2017.
        https://arxiv.org/abs/1511.06409
        Wang, Simoncelli & Bovik, *Multi-Scale Structural Similarity for Image Quality Assessment*, 2003, eq. 7.
        https://ece.uwaterloo.ca/~z70wang/publications/msssim.pdf

    Deviations:
        1. L is the number of scales that the image allows, (window - 1) 2^(L - 1) < side: 3 for 64 pixels, 2 for 28.
           The exponents are the first L of the paper's five, divided by their sum.
        2. For images with a side of fewer than 11 pixels, the window is the largest odd one that fits, with a
           proportional standard deviation.
        3. A mean structure below 1e-6, such as for an image and its negative, is set to 1e-6.
        4. The channels of colour images are compared separately, and averaged at each scale.

    Defaults:
        weight = 1.0: chosen here, without a search, as a multiple of D: there is no natural balance between MS-SSIM and
            KL.
    """

    Config = MSSSIMConfig
    family = "reconstruction losses"
    smallest_side = SMALLEST_SIDE
    trains_observation = False

    def reconstruction(self, step: TrainingStep) -> Tensor:
        x_hat = step.likelihood.mean
        similarity = ms_ssim(step.x.expand_as(x_hat).flatten(0, 1), x_hat.flatten(0, 1))
        D = math.prod(self.image_shape)
        return self.config.weight * D * (1 - similarity.unflatten(0, x_hat.shape[:2]))
