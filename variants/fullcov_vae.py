"""VAE whose posterior is a normal with a full covariance matrix."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .base import Variant, VariantConfig
from .options import not_negative
from .parts.full_normal import FullNormal
from .parts.networks import Network
from .registry import register


@dataclass
class FullCovarianceConfig(VariantConfig):
    """``features`` is the size of h, from which a linear map computes the entries below the diagonal. With 0, the
    entries are outputs of the encoder."""

    features: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        not_negative("variant.features", self.features)


@register("fullcov_vae")
class FullCovarianceVAE(Variant):
    """VAE with a full-covariance Gaussian posterior, trained with the negative ELBO.

        (mu, log sigma^2, h) = encoder(x),   L' = (A h + b) / d,   L = mask * L' + diag(sigma)
        z = mu + L eps,   eps ~ N(0, I),   log q(z|x) = log N(eps; 0, I) - sum_i log sigma_i
        KL(q(z|x) || p(z)) = (|L|_F^2 + |mu|^2 - d) / 2 - sum_i log sigma_i

    The mask is 1 below the diagonal and 0 elsewhere. L' = 0 gives the VAE. If the true posterior is Gaussian, as in a
    linear-Gaussian model, the bound can be equal to log p(x).

    References:
        Kingma & Welling, *An Introduction to Variational Autoencoders*, 2019, section 2.5 and Algorithm 2.
        https://arxiv.org/abs/1906.02691

    Deviations:
        1. The KL is in closed form; Algorithm 2 estimates it from the draw, as ``analytic_kl`` = false does.
        2. The reference has no experiment; the sizes are those of the configuration.
        3. L' is a linear map of h, which has ``features`` numbers, divided by the number d of latent dimensions. In
           Algorithm 2 the d (d - 1) / 2 entries below the diagonal are outputs of the encoder (``features`` = 0). If
           these entries are as large as the encoder's other outputs at first, training begins with so much noise in z
           that the decoder learns to ignore most of z.

    Defaults:
        features = 64: chosen here, without a search: Algorithm 2 has no such layer, see deviation 3.
    """

    Config = FullCovarianceConfig
    family = "posteriors and priors"
    forms = ({"analytic_kl": False}, {"features": 0})
    small = {"features": 4}
    # The positions of the entries below the diagonal in the flattened (row-major) L'; used if ``features`` is 0.
    below: Tensor

    def build(self, network: Network) -> None:
        d, features = self.latent_size, self.config.features
        self.encoder = network.encoder(self.image_shape, 2 * d + (features or d * (d - 1) // 2))
        if features:
            self.entries = nn.Linear(features, d * d)
        else:
            rows, columns = torch.tril_indices(d, d, offset=-1)
            self.register_buffer("below", rows * d + columns, persistent=False)
        self.decoder = network.decoder(d, self.image_shape)

    def posterior(self, x: Tensor, condition: Tensor | None = None) -> FullNormal:
        d = self.latent_size
        loc, a, h = self.encoder(x).to(x.dtype).tensor_split([d, 2 * d], dim=-1)
        if self.config.features:
            entries = self.entries(h).to(x.dtype) / d
        else:
            entries = h.new_zeros(*h.shape[:-1], d * d).index_copy(-1, self.below, h)
        return FullNormal(loc, self.log_sigma(a), entries.unflatten(-1, (d, d)))
