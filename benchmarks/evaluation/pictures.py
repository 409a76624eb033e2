"""The pictures in the folder of a run: samples from the prior, reconstructions, and denoised images."""

from __future__ import annotations

import io
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from benchmarks.data import hide_given, missing
from benchmarks.evaluation.tasks.denoising import NOISES, corrupted
from benchmarks.files import write_atomically
from benchmarks.records.record import DENOISED_FILE
from variants import Variant

# Maximum number of images per row of a sheet, and the approximate width of a sheet in pixels.
MOST_COLUMNS, SHEET_WIDTH = 8, 400
# Maximum number of rows in a sheet of samples by class.
MOST_CLASSES = 10
# Maximum number of images in the sheet of denoised images.
MOST_NOISY = 6


@torch.no_grad()
def write(folder: Path, variant: Variant, x: Tensor, show_originals: bool, condition: Tensor | None = None) -> None:
    """Write samples.png and reconstructions.png.

    samples.png has mean images of draws from the prior; it is not written for a model without a prior.
    reconstructions.png has the first images of ``x`` (n, channels, height, width), each row above the row of their
    reconstructions from the posterior mean. A conditional model is given the ``condition`` (n, ...) of the images; for
    its samples, see :func:`samples_given`. If the originals may not be shown, reconstructions are not shown either,
    because people could be recognised in them. The pixels of the originals that a condition contains are then hidden.
    """
    variant.eval()
    columns = columns_for(x)
    count = columns * columns
    if "prior" not in variant.unavailable():
        if condition is None:
            drawn = variant.sample(count)
        else:
            drawn = samples_given(variant, x, condition, columns, show_originals)
        save_png(folder / "samples.png", grid(drawn, columns))
    if not show_originals:
        # An earlier version, which showed the originals, may have written this file.
        (folder / "reconstructions.png").unlink(missing_ok=True)
        return
    columns = min(columns, len(x))
    # Only full rows, so that each original is above its reconstruction.
    originals = x[: min(columns_for(x) // 2, len(x) // columns) * columns]
    shown = variant.reconstruct(originals, condition=None if condition is None else condition[: len(originals)])
    lines = zip(originals.split(columns), shown.split(columns), strict=True)
    save_png(folder / "reconstructions.png", grid(torch.cat([line for pair in lines for line in pair]), columns))


@torch.no_grad()
def write_denoised(folder: Path, variant: Variant, x: Tensor, show_originals: bool) -> None:
    """Write denoised.png.

    The first row has the first images of ``x`` (n, channels, height, width). Below it, each kind of noise in
    :mod:`benchmarks.evaluation.tasks.denoising` has a row of corrupted images and a row of their reconstructions. The
    file is not written if the originals may not be shown, or for a conditional model.
    """
    if variant.conditional or not show_originals:
        (folder / DENOISED_FILE).unlink(missing_ok=True)
        return
    variant.eval()
    x = x[: min(MOST_NOISY, columns_for(x))]
    noisy = [corrupted(x, noise) for noise in NOISES]
    lines = [x, *(line for images in noisy for line in (images, variant.reconstruct(images)))]
    save_png(folder / DENOISED_FILE, grid(torch.cat(lines), len(x)))


def samples_given(variant: Variant, x: Tensor, condition: Tensor, columns: int, show_originals: bool) -> Tensor:
    """Mean images of draws from the prior of a conditional model, in rows of ``columns`` images.

    If the ``condition`` (n, ...) is a class, there is a row for each class. If it is a part of the image, there is a
    row for each of the first images ``x`` (n, ...): the given part, with the other pixels grey, followed by
    completions. If the originals may not be shown, the rows have only completions, with the given pixels hidden.
    """
    if condition.dim() == 2:
        classes = condition.unique(dim=0).flip(0)[:MOST_CLASSES]
        return variant.sample(len(classes) * columns, condition=classes.repeat_interleave(columns, 0))
    x, given = x[:columns], condition[:columns]
    repeats = columns - 1 if show_originals else columns
    given_to_each = given.repeat_interleave(repeats, 0)
    completed = variant.sample(len(x) * repeats, condition=given_to_each)
    if not show_originals:
        return hide_given(completed, given_to_each)
    shown = torch.where(missing(x, given), torch.full_like(x, 0.5), x)
    return torch.cat([shown[:, None], completed.unflatten(0, (len(x), repeats))], dim=1).flatten(0, 1)


def columns_for(images: Tensor) -> int:
    """Number of images per row: 8 for small images, 6 for images that are 64 pixels wide."""
    return max(2, min(MOST_COLUMNS, SHEET_WIDTH // images.shape[-1]))


def grid(images: Tensor, columns: int) -> Tensor:
    """Images (n, channels, height, width) in [0, 1] on one uint8 sheet (height, width, channels), one pixel apart."""
    n, channels, height, width = images.shape
    rows = -(-n // columns)
    sheet = torch.full((channels, rows * (height + 1) + 1, columns * (width + 1) + 1), 255, dtype=torch.uint8)
    pixels = (images.clamp(0, 1) * 255).round().to(torch.uint8).cpu()
    for i, image in enumerate(pixels):
        top, left = i // columns * (height + 1) + 1, i % columns * (width + 1) + 1
        sheet[:, top : top + height, left : left + width] = image
    return sheet.permute(1, 2, 0)


def save_png(path: Path, pixels: Tensor) -> None:
    """Write a uint8 image (height, width, channels) atomically."""
    array = pixels.squeeze(-1).numpy()
    data = io.BytesIO()
    image = Image.fromarray(array)
    if image.mode == "RGB":
        # 256 colours are enough for a sheet of thumbnails, and the file has a third of the size.
        image = image.quantize(256, dither=Image.Dither.NONE)
    image.save(data, "PNG", optimize=True)
    write_atomically(path, data.getvalue())
