"""The pictures beside a record: draws from the prior, and reconstructions."""

from __future__ import annotations

import io
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from benchmarks.files import write_atomically
from variants import Variant

# A sheet is at most so many images, and about so many pixels, wide.
MOST_COLUMNS, SHEET_WIDTH = 8, 400


@torch.no_grad()
def write(folder: Path, variant: Variant, x: Tensor, show_originals: bool, condition: Tensor | None = None) -> None:
    """samples.png: mean images of draws from the prior. reconstructions.png: the first images of ``x`` (n, channels,
    height, width), lines of them over lines of their reconstructions from the posterior mean; the reconstructions alone
    where the originals may not be shown. A model without a prior has no samples. A conditional one is given the
    ``condition`` (n, ...) of the images, its samples sorted by it."""
    variant.eval()
    columns = columns_for(x)
    count = columns * columns
    if "prior" not in variant.unavailable():
        given = None if condition is None else _in_order(condition[:count])
        save_png(folder / "samples.png", grid(variant.sample(count, condition=given), columns))
    originals = x[: columns // 2 * columns if show_originals else count]
    given = None if condition is None else condition[: len(originals)]
    shown = variant.reconstruct(originals, condition=given)
    if show_originals:
        lines = zip(originals.split(columns), shown.split(columns), strict=True)
        shown = torch.cat([line for pair in lines for line in pair])
    save_png(folder / "reconstructions.png", grid(shown, columns))


def _in_order(condition: Tensor) -> Tensor:
    """Conditions (n, ...) sorted, so that equal ones stand side by side."""
    flat = condition.flatten(1).tolist()
    return condition[sorted(range(len(flat)), key=flat.__getitem__, reverse=True)]


def columns_for(images: Tensor) -> int:
    """How many images stand side by side: 8 small ones, 6 of 64 pixels."""
    return max(2, min(MOST_COLUMNS, SHEET_WIDTH // images.shape[-1]))


def grid(images: Tensor, columns: int) -> Tensor:
    """Images (n, channels, height, width) in [0, 1] as one uint8 image (height, width, channels), one pixel apart."""
    n, channels, height, width = images.shape
    rows = -(-n // columns)
    sheet = torch.full((channels, rows * (height + 1) + 1, columns * (width + 1) + 1), 255, dtype=torch.uint8)
    pixels = (images.clamp(0, 1) * 255).round().to(torch.uint8).cpu()
    for i, image in enumerate(pixels):
        top, left = i // columns * (height + 1) + 1, i % columns * (width + 1) + 1
        sheet[:, top : top + height, left : left + width] = image
    return sheet.permute(1, 2, 0)


def save_png(path: Path, pixels: Tensor) -> None:
    """Write one uint8 image (height, width, channels) atomically."""
    array = pixels.squeeze(-1).numpy()
    data = io.BytesIO()
    image = Image.fromarray(array)
    if image.mode == "RGB":
        # 256 colours show what a sheet of thumbnails can, in a third of the bytes.
        image = image.quantize(256, dither=Image.Dither.NONE)
    image.save(data, "PNG", optimize=True)
    write_atomically(path, data.getvalue())
