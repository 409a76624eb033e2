"""A VAE whose posterior is one of torch's own distributions, with full covariance."""

from torch.distributions import MultivariateNormal

from variants import Variant, register


@register("correlated_vae")
class CorrelatedVAE(Variant):
    """VAE with q(z|x) = N(mu, L L^T)"""

    family = "posteriors and priors"
    closed_form_kl = False

    def build(self, network):
        d = self.latent_size
        self.encoder = network.encoder(self.image_shape, d + d * d)
        self.decoder = network.decoder(d, self.image_shape)

    def posterior(self, x):
        d = self.latent_size
        loc, entries = self.encoder(x).split([d, d * d], dim=-1)
        matrix = entries.unflatten(-1, (d, d))
        deviations = self.log_sigma(matrix.diagonal(dim1=-2, dim2=-1)).exp()
        scale = matrix.tril(-1) + deviations.diag_embed()
        return MultivariateNormal(loc, scale_tril=scale, validate_args=False)
