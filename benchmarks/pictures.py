"""The pictures beside a record: draws from the prior, and reconstructions."""

from __future__ import annotations

import io
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from benchmarks.results import write_atomically
from variants import Variant

ROWS = COLUMNS = 8


@torch.no_grad()
def write(folder: Path, variant: Variant, x: Tensor) -> None:
    """samples.png: mean images of 64 draws from the prior. reconstructions.png: 4 pairs of rows, the first 32 images of
    ``x`` (n, channels, height, width) over their reconstructions from the posterior mean."""
    variant.eval()
    _save(folder / "samples.png", grid(variant.sample(ROWS * COLUMNS), COLUMNS))
    originals = x[: ROWS // 2 * COLUMNS]
    rows = zip(originals.split(COLUMNS), variant.reconstruct(originals).split(COLUMNS), strict=True)
    _save(folder / "reconstructions.png", grid(torch.cat([row for pair in rows for row in pair]), COLUMNS))


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


def _save(path: Path, pixels: Tensor) -> None:
    array = pixels.squeeze(-1).numpy()
    data = io.BytesIO()
    Image.fromarray(array).save(data, "PNG", optimize=True)
    write_atomically(path, data.getvalue())
