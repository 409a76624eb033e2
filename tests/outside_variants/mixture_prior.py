"""A VAE whose prior is a mixture of Gaussians with learned parameters."""

import torch
from torch import nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from variants import Variant, register


@register("mixture_prior")
class MixturePrior(Variant):
    """VAE with p(z) = sum_k w_k N(m_k, s_k^2), learned"""

    family = "posteriors and priors"
    closed_form_kl = False

    def build(self, network):
        super().build(network)
        self.logits = nn.Parameter(torch.zeros(5))
        self.means = nn.Parameter(torch.randn(5, self.latent_size))
        self.log_scales = nn.Parameter(torch.zeros(5, self.latent_size))

    def prior(self):
        parts = Independent(Normal(self.means, self.log_scales.exp(), validate_args=False), 1)
        return MixtureSameFamily(Categorical(logits=self.logits), parts, validate_args=False)
