"""A VAE of images given their class, with a learned prior for every class."""

import torch
from torch import nn

from variants import Variant, register
from variants.parts.distributions import DiagonalNormal


@register("by_class")
class ByClass(Variant):
    """VAE given the class:  loss = -E_q log p(x|z, y) + KL(q(z|x, y) || p(z|y))"""

    conditional = True
    family = "conditional"

    def build(self, network):
        (classes,) = self.condition_shape
        self.encoder = network.encoder(self.image_shape, 2 * self.latent_size)
        self.shift = nn.Linear(classes, 2 * self.latent_size)
        self.prior_network = nn.Linear(classes, 2 * self.latent_size)
        self.decoder = network.decoder(self.latent_size + classes, self.image_shape)

    def prior(self, condition):
        loc, a = self.prior_network(condition).chunk(2, dim=-1)
        return DiagonalNormal(loc, self.log_sigma(a))

    def posterior(self, x, condition):
        loc, a = (self.encoder(x) + self.shift(condition)).chunk(2, dim=-1)
        return DiagonalNormal(loc, self.log_sigma(a))

    def decode(self, z, condition):
        return super().decode(torch.cat([z, condition.expand(*z.shape[:-1], -1)], dim=-1))
