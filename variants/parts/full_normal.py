"""A normal distribution with a full covariance matrix, parametrised by its Cholesky factor."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions.kl import register_kl

from .distributions import LOG_2PI, Normal, StandardNormal


class FullNormal(Normal):
    """N(loc, L L^T) with L = mask * L' + diag(sigma), where the mask is 1 below the diagonal and 0 elsewhere.

    ``loc`` and ``log_scale`` (log sigma) are (*batch, latent). ``entries`` (L') is (*batch, latent, latent); only its
    entries below the diagonal are used. L is triangular, so log |det L| = sum log sigma.
    """

    def __init__(self, loc: Tensor, log_scale: Tensor, entries: Tensor) -> None:
        self.scale_tril = entries.tril(-1) + log_scale.exp().diag_embed()
        super().__init__(loc, log_scale)

    @property
    def variance(self) -> Tensor:
        return self.scale_tril.square().sum(-1)

    @property
    def covariance_matrix(self) -> Tensor:
        return self.scale_tril @ self.scale_tril.mT

    def _of_noise(self, noise: Tensor) -> Tensor:
        # The draws of an image are the columns of one matrix, so that L is not copied for each draw.
        columns = noise.reshape(-1, *self.loc.shape).movedim(0, -1)
        # Autocast would round the draw to bfloat16, but not the noise from which its density is computed.
        with torch.autocast(noise.device.type, enabled=False):
            shift = (self.scale_tril @ columns).movedim(-1, 0)
        return self.loc + shift.reshape(noise.shape)

    def log_prob(self, value: Tensor) -> Tensor:
        centred = (value - self.loc).unsqueeze(-1)
        noise = torch.linalg.solve_triangular(self.scale_tril, centred, upper=False)
        return self._log_prob_of_standardised(noise.squeeze(-1))

    def pairwise_log_prob(self, value: Tensor) -> Tensor:
        # (z - m)^T P (z - m) with the precision P is linear in z z^T and z: one matrix product, as for DiagonalNormal.
        z, loc, log_scale = value.double(), self.loc.double(), self.log_scale.double()
        precision = torch.cholesky_inverse(self.scale_tril.double())
        shift = (precision @ loc.unsqueeze(-1)).squeeze(-1)
        constant = -0.5 * ((loc * shift).sum(-1) + loc.shape[-1] * LOG_2PI) - log_scale.sum(-1)
        products = (z.unsqueeze(-1) * z.unsqueeze(-2)).flatten(-2)
        return torch.addmm(
            constant, torch.cat([products, z], -1), torch.cat([-0.5 * precision.flatten(-2), shift], -1).T
        )


@register_kl(FullNormal, StandardNormal)
def _kl_to_standard_normal(q: FullNormal, p: StandardNormal) -> Tensor:
    # tr(L L^T) is the sum of all squared entries of L.
    trace = q.scale_tril.square().sum((-2, -1))
    return 0.5 * (trace + q.loc.square().sum(-1) - q.loc.shape[-1]) - q.log_scale.sum(-1)
