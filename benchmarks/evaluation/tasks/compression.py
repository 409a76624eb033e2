"""Images decoded from the first principal components of their codes, compared with PCA of the pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.evaluation.reconstruction import mse
from benchmarks.seeding import kept_random_state

# Seed of the randomised SVD.
AXES_SEED = 0
# Largest number of dimensions for the exact eigenvectors of the covariance, which take a second or less up to here. For
# the 12,288 pixel channels of 64x64 colour images, they would take minutes.
MOST_EXACT = 1024


@dataclass(frozen=True)
class PrincipalComponents:
    """The ``mean`` (d,) of vectors and the principal ``axes`` (components, d), both float64 on the CPU.

    The axes have unit length and are in decreasing order of the variance along them.
    """

    mean: Tensor
    axes: Tensor

    def scores(self, x: Tensor) -> Tensor:
        """Coordinates (n, components) of ``x`` (n, d) along the axes, float64 on the CPU."""
        return (x.cpu().double() - self.mean) @ self.axes.T

    def cut(self, x: Tensor, count: int) -> Tensor:
        """``x`` (n, d) projected onto the first ``count`` axes: the reconstruction from ``count`` numbers per image."""
        return (self.scores(x)[:, :count] @ self.axes[:count] + self.mean).to(x)


def principal_components(x: Tensor, count: int) -> PrincipalComponents:
    """The first ``count`` principal components of ``x`` (n, d), with n > count and d >= count.

    They are exact up to 1,024 dimensions, and computed by a randomised SVD with a fixed seed above that.
    """
    x = x.cpu()
    mean = x.double().mean(0)
    if x.shape[1] <= MOST_EXACT:
        centred = x.double() - mean
        # eigh sorts the eigenvalues in ascending order.
        axes = torch.linalg.eigh(centred.T @ centred).eigenvectors.flip(1)[:, :count]
    else:
        with kept_random_state():
            torch.manual_seed(AXES_SEED)
            _, _, axes = torch.svd_lowrank(x - mean.to(x), q=min(count + 16, *x.shape), niter=2)
        axes = torch.linalg.qr(axes[:, :count].double()).Q
    return PrincipalComponents(mean, axes.T)


def dimensions(count: int) -> list[int]:
    """The powers of two below ``count``, and ``count`` itself."""
    powers = [2**power for power in range(count.bit_length()) if 2**power < count]
    return [*powers, count]


def code_errors(
    decode: Callable[[Tensor], Tensor], codes: Tensor, x: Tensor, fitted_on: Tensor, counts: Sequence[int]
) -> dict[int, float]:
    """Squared error per pixel channel of ``x`` (n, ...) decoded from k principal components of its ``codes``, by k.

    The components are fitted on the codes ``fitted_on`` (m, d). Each k in ``counts`` below both d and m is included. If
    d is in ``counts``, its error is that of the unchanged ``codes`` (n, d), for any m.
    """
    size = codes.shape[1]
    cut = [k for k in counts if k < min(size, len(fitted_on))]
    components = principal_components(fitted_on, max(cut)) if cut else None
    errors = {k: mse(x, decode(components.cut(codes, k))) for k in cut if components}
    return errors | ({size: mse(x, decode(codes))} if size in counts else {})


def pca_errors(x: Tensor, fitted_on: Tensor, counts: Sequence[int]) -> dict[int, float]:
    """Squared error per pixel channel of images ``x`` (n, ...) projected onto k principal components, by k.

    The components are fitted on the images ``fitted_on`` (m, ...). Each k in ``counts`` below both m and the number of
    pixel channels is included; with all pixel channels, the error would be 0.
    """
    x, fitted_on = x.flatten(1), fitted_on.flatten(1)
    counts = [k for k in counts if k < min(fitted_on.shape)]
    if not counts:
        return {}
    components = principal_components(fitted_on, max(counts))
    # The axes are orthonormal, so each one reduces the squared distance to the mean by the square of its score.
    left = (x.cpu().double() - components.mean).square().sum() - components.scores(x).square().sum(0).cumsum(0)
    return {k: max(0.0, float(left[k - 1])) / x.numel() for k in counts}


def curve_table(errors: Mapping[int, float], pca: Mapping[int, float]) -> str:
    """CSV with a row per number of dimensions: the squared errors of codes and of PCA (empty if PCA has none)."""
    lines = [f"{k},{error:.6g},{f'{pca[k]:.6g}' if k in pca else ''}" for k, error in errors.items()]
    return "\n".join(["dimensions,mse,pca_mse", *lines]) + "\n"
