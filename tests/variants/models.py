"""Small models that the tests of variants share."""

import torch
from torch import nn

import variants
from variants.parts.networks import MLP

SHAPE = (1, 4, 4)


class Layers(nn.Module):
    """A frozen network with two layers of features, in place of a trained one."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(1, 3, 3)

    def forward(self, x):
        return [x, self.convolution(x).sigmoid()]


def small(name, shape=SHAPE, dtype=torch.float32, network=None, **options):
    """A variant with few parameters, ready to train."""
    if name == "vq_vae":
        options = {"codes": 8, "code_size": 3, "prior_channels": 4, "prior_layers": 1} | options
    if name == "gumbel_vae":
        options = {"variables": 3, "categories": 4} | options
    if name == "iaf_vae":
        options = {"hidden": 8, "context": 4} | options
    network = network or MLP(latent_size=3, hidden=[8], activation="tanh", grid_size=2)
    model = variants.build(name, shape, network, **options).to(dtype)
    if model.needs_teacher:
        model.use_teacher(Layers().to(dtype))
    return model


def binary_images(count, shape=SHAPE, dtype=torch.float32):
    return (torch.rand(count, *shape) < 0.4).to(dtype)
