"""A VAE with a Laplace posterior and an encoder that needs images of 8 pixels a side or more."""

from torch import nn
from torch.distributions import Independent, Laplace

from variants import Variant, register


@register("laplace_vae")
class LaplaceVAE(Variant):
    """VAE with q(z|x) = Laplace(mu, s)"""

    family = "posteriors and priors"
    closed_form_kl = False
    smallest_side = 8

    def build(self, network):
        super().build(network)
        channels, height, width = self.image_shape
        features = 4 * (height - 7) * (width - 7)
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, 4, 8), nn.Tanh(), nn.Flatten(), nn.Linear(features, 2 * self.latent_size)
        )

    def posterior(self, x):
        loc, a = self.encoder(x).chunk(2, dim=-1)
        return Independent(Laplace(loc, self.log_sigma(a).exp(), validate_args=False), 1)
