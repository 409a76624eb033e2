"""pytorch-fid's Inception-v3: the network and weights that published FID values use."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor, nn
from torch.hub import download_url_to_file, get_dir

from benchmarks.progress.report import doing
from benchmarks.variables import file

log = logging.getLogger(__name__)

DIMENSIONS = 2048
BATCH = 50
WEIGHTS_VARIABLE = "VAE_INCEPTION_WEIGHTS"


class WeightsUnavailableError(RuntimeError):
    """The weights are not on this machine, or unreadable, and cannot be downloaded. The log says what was tried."""


def weights_path() -> Path:
    """The file of the weights.

    It is the file that ``VAE_INCEPTION_WEIGHTS`` names, or else the file in torch's cache, which is downloaded if it is
    missing. Raises :class:`WeightsUnavailableError`.
    """
    given = file(WEIGHTS_VARIABLE)
    if given is not None:
        if not given.is_file():
            raise WeightsUnavailableError(f"weights unavailable: {WEIGHTS_VARIABLE}={given} is not a file")
        return given
    # Imported here and below because pytorch-fid imports torchvision, which takes more than a second.
    from pytorch_fid.inception import FID_WEIGHTS_URL

    path = Path(get_dir()) / "checkpoints" / FID_WEIGHTS_URL.rpartition("/")[2]
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with doing("downloading the weights of Inception"):
                download_url_to_file(FID_WEIGHTS_URL, str(path), hash_prefix="6726825d", progress=False)
        except Exception as error:
            # The record and the reports only have the short reason below.
            log.info("Inception's weights could not be downloaded from %s to %s: %s", FID_WEIGHTS_URL, path, error)
            raise WeightsUnavailableError(
                f"Inception's weights could not be downloaded; set {WEIGHTS_VARIABLE} to a local file"
            ) from None
    return path


class Inception(nn.Module):
    """Maps images (n, 1 or 3 channels, height, width) in [0, 1] to 2048 features, as pytorch-fid computes them.

    Grey images are repeated to three channels, and images are resized to 299 pixels (bilinear). There is no
    normalisation besides that of pytorch-fid. With ``precision`` "bf16", the network runs under autocast; the resize
    stays in fp32.
    """

    def __init__(self, path: Path, precision: str = "fp32") -> None:
        from pytorch_fid.inception import InceptionV3

        super().__init__()
        self.precision = precision
        data = path.read_bytes()
        self.digest = hashlib.sha256(data).hexdigest()
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # a file of another kind, or an incomplete one, can raise anything
            log.info("%s cannot be read as weights: %s", path, " ".join(str(error).split())[:200])
            raise WeightsUnavailableError(f"weights unavailable: {path} cannot be read as weights") from None
        # The package's own loader would download the weights and unpickle arbitrary objects.
        with mock.patch("pytorch_fid.inception.load_state_dict_from_url", return_value=state):
            self.network = InceptionV3([InceptionV3.BLOCK_INDEX_BY_DIM[DIMENSIONS]]).eval().requires_grad_(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        rgb = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
        with torch.autocast(rgb.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            return torch.cat([self.network(batch)[0].flatten(1).float() for batch in rgb.split(BATCH)])
