"""VAE with an inverse-autoregressive-flow posterior."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .base import Variant, VariantConfig
from .options import added, not_negative, positive
from .parts.distributions import DiagonalNormal
from .parts.flows import IAF, FlowPosterior
from .parts.layers import check_activation
from .parts.networks import Network
from .registry import register


@dataclass
class IAFConfig(VariantConfig):
    """``steps`` is the number of flow steps, T. Each has a MADE with two layers of ``hidden`` units and an
    ``activation``. ``context`` is the number of encoder outputs per image that every step gets, h(x)."""

    steps: int = 2
    hidden: int = 128
    context: int = 64
    activation: str = added("elu")

    def __post_init__(self) -> None:
        super().__post_init__()
        not_negative("variant.steps", self.steps)
        positive("variant.hidden", self.hidden)
        positive("variant.context", self.context)
        check_activation("variant.activation", self.activation)


@register("iaf_vae")
class IAFVAE(Variant):
    """VAE with an inverse autoregressive flow as the posterior, trained with the negative ELBO.

        z_0 ~ N(mu, sigma_0^2),   z_t = sigma_t z_{t-1} + (1 - sigma_t) m_t,   sigma_t = sigmoid(s_t + 2)
        (m_t, s_t) = MADE_t(z_{t-1}, h(x)),   log q(z_T|x) = log q(z_0|x) - sum_t sum_i log sigma_{t,i}

    The order of the dimensions is reversed between steps. The KL has no closed form; the draws of the objective
    estimate it. ``steps`` = 0 gives the VAE without the closed-form KL.

    References:
        Kingma et al., *Improving Variational Inference with Inverse Autoregressive Flow*, NeurIPS 2016, eqs. 10-14 and
        Algorithm 1. https://arxiv.org/abs/1606.04934
        Germain et al., *MADE*, ICML 2015. https://arxiv.org/abs/1502.03509
        The authors' code. https://github.com/openai/iaf
        Altosaar's implementation for MNIST. https://github.com/altosaar/variational-autoencoder

    Deviations:
        1. One stochastic layer with the configured network instead of the paper's ResNet with several.
        2. Reconstructions decode the flow's output at the mean of z_0, because the mean of z_T has no closed form.
        3. h(x) is added in the first hidden layer of a MADE, as in Altosaar's implementation. The first dimension of a
           step is not connected to any hidden unit, so its m and sigma are the same for all images.

    Defaults:
        steps = 2: chosen here, as in Altosaar's implementation; the authors' code has one step in each of many
            stochastic layers (tf_train.py).
        hidden = 128: chosen here, without a search; the authors' code has 160 feature maps (tf_train.py), Altosaar's
            256 units.
        context = 64: chosen here, without a search; in the authors' code it is the number of hidden feature maps, in
            Altosaar's it is 128.
        activation = elu: the authors' code (tf_utils/layers.py).
    """

    Config = IAFConfig
    family = "posteriors and priors"
    closed_form_kl = False
    forms = ({"steps": 0},)
    small = {"hidden": 8, "context": 4}

    @classmethod
    def check(cls, config: VariantConfig, network: Network, side: int | None) -> None:
        super().check(config, network, side)
        assert isinstance(config, IAFConfig)
        if config.steps and config.hidden < network.latent_size - 1:
            raise ValueError(
                f"variant.hidden must be at least network.latent_size - 1 = {network.latent_size - 1}, so that every "
                f"dimension of the flow sees all those before it; got {config.hidden}"
            )

    def build(self, network: Network) -> None:
        self.encoder = network.encoder(self.image_shape, 2 * self.latent_size + self.config.context)
        self.decoder = network.decoder(self.latent_size, self.image_shape)
        steps, hidden, context = self.config.steps, self.config.hidden, self.config.context
        self.flow = IAF(self.latent_size, steps, hidden, context, self.config.activation)

    def posterior(self, x: Tensor, condition: Tensor | None = None) -> FlowPosterior:
        sizes = [self.latent_size, self.latent_size, self.config.context]
        loc, a, context = self.encoder(x).to(x.dtype).split(sizes, dim=-1)
        return FlowPosterior(DiagonalNormal(loc, self.log_sigma(a)), self.flow, context)
