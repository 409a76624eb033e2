"""A VAE with two latent levels, z2 -> z1 -> x."""

import torch
from torch import nn

from variants import LogWeights, Variant, register
from variants.parts.distributions import DiagonalNormal, draw


@register("two_levels")
class TwoLevels(Variant):
    """VAE with two latent levels:  p(z2) p(z1|z2) p(x|z1),  q(z1|x) q(z2|z1)"""

    family = "posteriors and priors"
    closed_form_kl = False

    def build(self, network):
        super().build(network)
        self.up, self.down = (nn.Linear(self.latent_size, 2 * self.latent_size) for _ in range(2))

    def above(self, z1):
        return self.normal(self.up(z1))

    def below(self, z2):
        return self.normal(self.down(z2))

    def normal(self, output):
        loc, a = output.chunk(2, dim=-1)
        return DiagonalNormal(loc, self.log_sigma(a))

    def log_weights(self, x, q, samples):
        z1, log_q1 = draw(q, (samples,))
        z2, log_q2 = draw(self.above(z1))
        log_p = self.prior().log_prob(z2) + self.below(z2).log_prob(z1)
        return LogWeights(self.likelihood(z1).log_prob(x), log_p, log_q1 + log_q2, z1)

    @torch.no_grad()
    def sample_latent(self, count):
        return self.below(self.prior().sample((count,))).sample()

    def unavailable(self):
        return {"density_elsewhere": "q(z1|x) has a partner, q(z2|z1), and p(z1) has no closed form"}
