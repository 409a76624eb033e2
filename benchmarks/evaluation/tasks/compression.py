"""Images from a few numbers: codes cut down to their first principal components, and the same for pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.evaluation.reconstruction import mse

# Of the randomised axes.
AXES_SEED = 0
# Up to so many dimensions the covariance's eigenvectors take a second or less; of a 64x64 colour image's 12,288 pixel
# channels they would take minutes.
MOST_EXACT = 1024


@dataclass(frozen=True)
class PrincipalComponents:
    """The ``mean`` (d,) of vectors and, in the order of the variance along them, axes (components, d) of length one,
    both float64 on the CPU."""

    mean: Tensor
    axes: Tensor

    def scores(self, x: Tensor) -> Tensor:
        """Coordinates (n, components) of ``x`` (n, d) along the axes, float64 on the CPU."""
        return (x.cpu().double() - self.mean) @ self.axes.T

    def cut(self, x: Tensor, count: int) -> Tensor:
        """``x`` (n, d) projected on the first ``count`` axes: what so many numbers an image tell of it."""
        return (self.scores(x)[:, :count] @ self.axes[:count] + self.mean).to(x)


def principal_components(x: Tensor, count: int) -> PrincipalComponents:
    """The first ``count`` principal components of ``x`` (n, d), n > count and d >= count: exact up to 1,024 dimensions,
    beyond that by a randomised SVD with a fixed seed."""
    x = x.cpu()
    mean = x.double().mean(0)
    if x.shape[1] <= MOST_EXACT:
        centred = x.double() - mean
        # In ascending order of the eigenvalues.
        axes = torch.linalg.eigh(centred.T @ centred).eigenvectors.flip(1)[:, :count]
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(AXES_SEED)
            _, _, axes = torch.svd_lowrank(x - mean.to(x), q=min(count + 16, *x.shape), niter=2)
        axes = torch.linalg.qr(axes[:, :count].double()).Q
    return PrincipalComponents(mean, axes.T)


def dimensions(count: int) -> list[int]:
    """1, 2, 4, ... and ``count`` itself."""
    powers = [2**power for power in range(count.bit_length()) if 2**power < count]
    return [*powers, count]


def code_errors(
    decode: Callable[[Tensor], Tensor], codes: Tensor, x: Tensor, fitted_on: Tensor, counts: Sequence[int]
) -> dict[int, float]:
    """Squared error per pixel channel of ``x`` (n, ...) decoded from the first k principal components of its ``codes``
    (n, d), by k, for those of ``counts`` that there are. The components are those of ``fitted_on`` (m, d); all d
    numbers are the codes as they are, whatever m."""
    size = codes.shape[1]
    cut = [k for k in counts if k < min(size, len(fitted_on))]
    components = principal_components(fitted_on, max(cut)) if cut else None
    errors = {k: mse(x, decode(components.cut(codes, k))) for k in cut if components}
    return errors | ({size: mse(x, decode(codes))} if size in counts else {})


def pca_errors(x: Tensor, fitted_on: Tensor, counts: Sequence[int]) -> dict[int, float]:
    """Squared error per pixel channel of images ``x`` (n, ...) projected on the first k principal components of the
    images ``fitted_on`` (m, ...), by k, for those of ``counts`` below m and below the number of pixel channels, with
    which nothing is lost."""
    x, fitted_on = x.flatten(1), fitted_on.flatten(1)
    counts = [k for k in counts if k < min(fitted_on.shape)]
    if not counts:
        return {}
    components = principal_components(fitted_on, max(counts))
    # The axes are orthogonal: each takes its own part of the squared distance to the mean away.
    left = (x.cpu().double() - components.mean).square().sum() - components.scores(x).square().sum(0).cumsum(0)
    return {k: max(0.0, float(left[k - 1])) / x.numel() for k in counts}


def curve_table(errors: Mapping[int, float], pca: Mapping[int, float]) -> str:
    """CSV, a line a number of dimensions: the squared error of codes and that of a PCA, empty where there is none."""
    lines = [f"{k},{error:.6g},{f'{pca[k]:.6g}' if k in pca else ''}" for k, error in errors.items()]
    return "\n".join(["dimensions,mse,pca_mse", *lines]) + "\n"
