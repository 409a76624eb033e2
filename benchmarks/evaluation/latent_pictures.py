"""Pictures of a latent space: posterior means in two dimensions, and images decoded along lines and on a plane."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.data import Factors, batches, hide_given
from benchmarks.evaluation.evaluate import batched
from benchmarks.evaluation.pictures import columns_for, grid, save_png
from benchmarks.files import write_atomically
from benchmarks.records.record import CODES_FILE, FACTOR_LINES_FILE, FACTOR_LINES_TABLE
from variants import Variant

# Number of test images whose codes are drawn as points and determine the axes.
POINTS = 1000
BATCH = 500
# Range of traversals and of the plane, in standard deviations of the posterior means to each side.
REACH = 3.0
# Maximum number of dimensions with a traversal.
TRAVERSED = 8


@dataclass(frozen=True)
class Plane:
    """A plane in the space of continuous latent variables.

    ``origin`` (d,); ``axes`` (2, d), of unit length; ``spread`` (2,), the standard deviation of the posterior means
    along each axis.
    """

    origin: Tensor
    axes: Tensor
    spread: Tensor

    def coordinates(self, means: Tensor) -> Tensor:
        """Coordinates (n, 2) in the plane of latent vectors (n, d)."""
        return (means - self.origin) @ self.axes.T


@torch.no_grad()
def write(
    folder: Path,
    variant: Variant,
    x: Tensor,
    labels: Tensor | None,
    condition: Tensor | None = None,
    show_originals: bool = True,
    factors: Factors | None = None,
) -> None:
    """Write codes.csv, plane.png, traversals.png and interpolations.png for test images.

    ``x`` (n, channels, height, width): the test images. If their ``factors`` are known and the model is not
    conditional, factor_lines.png has traversals of the dimensions with the most information about a factor, in
    decreasing order, and factor_lines.csv names these factors.

    Nothing is written for a model without continuous latent variables. Discrete latent variables keep their values for
    the first test image. The pictures show only decoded images, never images of the data set. A conditional model
    decodes all images with the condition of the first test image; pixels that this condition contains are painted over.
    If the originals may not be shown, reconstructions are not shown either: traversals start at the mean code, and
    interpolations are between draws from the prior, or are left out for a model without a prior.
    """
    if "continuous_latent" in variant.unavailable():
        return
    variant.eval()
    everything, x = x, x[:POINTS]
    parts = list(batches(x, condition, BATCH))
    means = torch.cat([variant.latent_means(part, condition=given) for part, given in parts])
    codes = torch.cat([variant.code(variant.posterior(part, condition=given)) for part, given in parts])
    first = None if condition is None else condition[:1]
    # Lines are drawn between codes, because the decoder takes codes. Representations, and so ``means``, can differ from
    # codes: structured_vae applies its rectified units to the code.
    continuous = codes[:, : means.shape[1]]
    plane = principal_plane(continuous)
    _write_codes(folder, plane.coordinates(continuous), labels)

    columns = columns_for(x)

    def decoded(z: Tensor) -> Tensor:
        """Mean images of continuous latent vectors (n, d). The rest of the code is that of the first test image."""
        rest = codes[:1, means.shape[1] :].expand(len(z), -1)
        whole = torch.cat([z, rest], dim=1)
        images = torch.cat([variant.image(part, condition=first) for part in whole.split(BATCH)])
        return hide_given(images, None if first is None else first.expand(len(images), *first.shape[1:]))

    steps = torch.linspace(-REACH, REACH, columns, device=x.device)
    save_png(folder / "plane.png", grid(decoded(plane_points(plane, steps)), columns))
    start = continuous[0] if show_originals else continuous.mean(0)
    lines = traversals(continuous, steps, start, most_varied(continuous))
    save_png(folder / "traversals.png", grid(decoded(lines), columns))
    if factors is not None and condition is None:
        of_all = batched(lambda part, condition: variant.code(variant.posterior(part)), everything, None)
        known = most_informed(of_all[:, : means.shape[1]], factors)
        lines = traversals(continuous, steps, start, [line.dimension for line in known])
        if known:
            save_png(folder / FACTOR_LINES_FILE, grid(decoded(lines), columns))
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(Informed._fields)
        writer.writerows((line.dimension, line.factor, f"{line.share:.4f}") for line in known)
        write_atomically(folder / FACTOR_LINES_TABLE, table.getvalue().encode())
    if show_originals:
        ends = continuous[: 2 * columns]
    elif "prior" not in variant.unavailable():
        of_each = None if first is None else first.expand(2 * columns, *first.shape[1:])
        ends = variant.sample_latent(2 * columns, condition=of_each)[:, : means.shape[1]]
    else:
        # An earlier version, which showed reconstructions, may have written this file.
        (folder / "interpolations.png").unlink(missing_ok=True)
        return
    save_png(folder / "interpolations.png", grid(decoded(interpolations(ends, columns)), columns))


def principal_plane(means: Tensor) -> Plane:
    """The plane in which posterior means (n, d) vary most.

    Its axes are the first two principal axes, with signs such that the largest component of each is positive. For
    d = 2 they are the latent axes. For d = 1 they are the latent axis and a zero vector; for one image, the second is
    a zero vector, too.
    """
    origin = means.mean(0)
    if means.shape[1] <= 2:
        axes = torch.eye(2, means.shape[1]).to(means)
    else:
        _, _, axes = torch.linalg.svd((means - origin).double(), full_matrices=False)
        axes = torch.cat([axes, torch.zeros_like(axes)])[:2].to(means)
        largest = axes.gather(1, axes.abs().argmax(1, keepdim=True))
        axes = axes * largest.sign()
    spread = ((means - origin) @ axes.T).std(0, correction=0)
    return Plane(origin, axes, spread)


def plane_points(plane: Plane, steps: Tensor) -> Tensor:
    """Latent vectors (k * k, d) on a grid in the plane, at ``steps`` (k,) standard deviations along each axis.

    The first axis goes from left to right, the second from bottom to top.
    """
    right = steps[None, :, None] * plane.spread[0] * plane.axes[0]
    up = steps.flip(0)[:, None, None] * plane.spread[1] * plane.axes[1]
    return (plane.origin + right + up).flatten(0, 1)


def most_varied(means: Tensor) -> list[int]:
    """The dimensions in which posterior means (n, d) vary most, in decreasing order."""
    return means.std(0, correction=0).argsort(descending=True, stable=True)[:TRAVERSED].tolist()


class Informed(NamedTuple):
    """A latent ``dimension`` and the factor about which it has the most information.

    ``factor``: the name of the factor. ``share``: their mutual information, divided by the entropy of the factor.
    """

    dimension: int
    factor: str
    share: float


def most_informed(codes: Tensor, factors: Factors) -> list[Informed]:
    """The active dimensions of codes (n, d) with the most information about a factor, in decreasing order."""
    # Imported here because it imports scikit-learn, which takes a second.
    from benchmarks.evaluation.disentanglement.scores import shares_of_entropy

    shares, which = shares_of_entropy(codes, factors).max(1)
    order = [i for i in shares.argsort(descending=True, stable=True).tolist() if shares[i] > 0][:TRAVERSED]
    return [Informed(i, factors.kinds[int(which[i])].name, float(shares[i])) for i in order]


def traversals(means: Tensor, steps: Tensor, start: Tensor, chosen: Sequence[int]) -> Tensor:
    """Latent vectors (r * k, d) along each of the r ``chosen`` dimensions.

    On each line, the chosen dimension takes the values at ``steps`` (k,) standard deviations from its mean over the
    posterior means (n, d). All other dimensions are those of the code ``start`` (d,).
    """
    spread = means.std(0, correction=0)
    lines = start.repeat(len(chosen), len(steps), 1)
    for line, dimension in zip(lines, chosen, strict=True):
        line[:, dimension] = means[:, dimension].mean() + steps * spread[dimension]
    return lines.flatten(0, 1)


def interpolations(ends: Tensor, count: int) -> Tensor:
    """``count`` latent vectors on the straight line from code 2 i to code 2 i + 1 of ``ends`` (2 m, d), for each i.

    The lines follow each other in the result (m * count, d).
    """
    weight = torch.linspace(0, 1, count, device=ends.device)[None, :, None]
    start, end = ends[0 : len(ends) - 1 : 2, None], ends[1::2, None]
    return torch.lerp(start, end, weight).flatten(0, 1)


def _write_codes(folder: Path, positions: Tensor, labels: Tensor | None) -> None:
    """Write one row per image: its position on the principal plane, and its class if the data set has classes."""
    classes = labels[: len(positions)].tolist() if labels is not None and labels.dim() == 1 else [""] * len(positions)
    rows = zip(positions.tolist(), classes, strict=True)
    lines = ["axis_1,axis_2,class", *(f"{a:.3f},{b:.3f},{name}" for (a, b), name in rows)]
    write_atomically(folder / CODES_FILE, ("\n".join(lines) + "\n").encode())
