"""An autoencoder whose decoder is its transposed encoder. Both are also in a list: some tensors have two names."""

import torch
import torch.nn.functional as F
from torch import nn

from variants import Autoencoder, register


class Transposed(nn.Module):
    """The transposed linear map, with the same weights."""

    def __init__(self, linear, shape):
        super().__init__()
        self.weight, self.shape = linear.weight, shape
        self.bias = nn.Parameter(torch.zeros(linear.in_features))

    def forward(self, z):
        return F.linear(z, self.weight.T, self.bias).unflatten(-1, self.shape)


@register("tied_ae")
class TiedAE(Autoencoder):
    """Autoencoder with tied weights:  loss = |x - G(z)|^2,  z = W x + b,  G(z) = W^T z + c"""

    def build(self, network):
        linear = nn.Linear(torch.Size(self.image_shape).numel(), self.latent_size)
        self.encoder = nn.Sequential(nn.Flatten(), linear)
        self.decoder = Transposed(linear, self.image_shape)
        self.bodies = nn.ModuleList([self.encoder, self.decoder])
