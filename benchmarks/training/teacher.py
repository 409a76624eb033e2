"""The frozen network whose features the loss of a feature-consistent variant compares."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.data import Dataset
from benchmarks.errors import UserError
from benchmarks.evaluation.judges.network import LayerMaps, Teacher, accuracy_words, feature_network
from benchmarks.progress.report import doing

log = logging.getLogger(__name__)


class VGGLayers(nn.Module):
    """relu1_1, relu2_1 and relu3_1 of VGG-19 (Hou et al. 2017, VAE-123), for RGB images in [0, 1]."""

    _LAYERS = (1, 6, 11)
    mean: Tensor
    deviation: Tensor

    def __init__(self, features: nn.Sequential) -> None:
        super().__init__()
        self.features = features[: max(self._LAYERS) + 1]
        # Mean and standard deviation of ImageNet, used when the weights were trained.
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1))
        self.register_buffer("deviation", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1))

    def forward(self, x: Tensor) -> list[Tensor]:
        x = (x - self.mean) / self.deviation
        maps = []
        for index, layer in enumerate(self.features):
            # The ReLUs of VGG work in place and would overwrite feature maps that the loss needs.
            x = torch.relu(x) if isinstance(layer, nn.ReLU) else layer(x)
            if index in self._LAYERS:
                maps.append(x)
        return maps


def teacher(data: Dataset, cache: Path, device: torch.device) -> tuple[nn.Module, str]:
    """Return the network and its description for the record. Raises :class:`UserError` for images without the labels
    from which it is trained."""
    why = "images are grey or small"
    if data.shape[0] == 3 and min(data.shape[1:]) >= 32:
        # Imported here because importing torchvision takes more than a second.
        from torchvision.models import VGG19_Weights, vgg19

        try:
            weights = VGG19_Weights.IMAGENET1K_V1
            with doing("loading the weights of VGG-19"):
                layers = VGGLayers(vgg19(weights=weights, progress=False).features).to(device).eval()
            return layers, f"VGG-19 relu1_1, 2_1, 3_1 ({weights})"
        except OSError as error:
            why = "VGG-19's weights could not be downloaded"
            # The record and the reports contain only the reason, not the error.
            log.info("%s from %s: %s", why, VGG19_Weights.IMAGENET1K_V1.url, error)
    try:
        found = feature_network(data, "teacher", cache, device)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"the loss compares features of a classifier of the images: {error}") from None
    assert isinstance(found.network, Teacher)
    which = f"{found.key}, SHA-256 {found.digest[:12]}"
    description = f"a second classifier of this data set{accuracy_words(found.accuracy)} ({which}), since {why}"
    return LayerMaps(found.network).to(device).eval(), description
