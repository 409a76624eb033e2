"""VAE with a planar or radial normalising-flow posterior."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .base import TrainingStep, Variant, VariantConfig
from .options import between, not_negative, one_of, without_effect
from .parts.distributions import DiagonalNormal
from .parts.flows import FlowPosterior
from .parts.networks import Network
from .parts.planar import AmortisedFlow, PlanarFlow, RadialFlow
from .registry import register


@dataclass
class FlowConfig(VariantConfig):
    """``flow`` is "planar" or "radial", and ``steps`` the number of its steps, K. ``constrained`` = false does not
    constrain the planar u: steps may then not be invertible. ``annealing`` is the fraction of training over which B,
    the weight of the joint density, rises to 1."""

    flow: str = "planar"
    steps: int = 10
    constrained: bool = True
    annealing: float = 0.02

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("variant.flow", self.flow, ("planar", "radial"))
        not_negative("variant.steps", self.steps)
        between("variant.annealing", self.annealing, 0, 1)
        if self.flow != "planar":
            without_effect("variant.constrained", self.constrained, True, "only planar steps can be left free")


@register("flow_vae")
class FlowVAE(Variant):
    """VAE with planar or radial normalizing flows as the posterior, whose parameters come from the encoder.

        z_0 ~ N(mu, sigma^2),   z_k = f_k(z_{k-1}),   log q(z_K|x) = log q(z_0|x) - sum_k log |det df_k/dz_{k-1}|
        planar:  f(z) = z + u^ tanh(w.z + b)              radial:  f(z) = z + beta^ (z - c) / (alpha + |z - c|)
        loss = E[log q(z_K|x) - B log p(x, z_K)],   B = min(1, 0.01 + 0.99 progress / annealing)

    Each image has its own (u, w, b) or (c, alpha, beta) for every step. ``constrained`` keeps planar steps invertible.
    Without it log q is not always a density, and the loss not always a bound. ``steps`` = 0 gives the VAE without the
    closed-form KL, once B is 1.

    References:
        Rezende & Mohamed, *Variational Inference with Normalizing Flows*, ICML 2015, eqs. 10-15, 20 and appendix A.1.
        https://arxiv.org/abs/1505.05770

    Deviations:
        1. The configured network and optimiser replace maxout layers and RMSprop. The paper has 40 latent dimensions.
        2. B depends on the fraction of the budget; in the paper it depends on the number of updates.
        3. alpha is the softplus of an output of the encoder; the paper requires alpha > 0 and does not say how.
        4. Reconstructions decode the flow's output at the mean of z_0, because the mean of z_K has no closed form.

    Defaults:
        flow = planar: chosen here, without a search; the paper has both flows.
        steps = 10: chosen here, the length of the paper's shortest flow on MNIST; its longest has 80.
        constrained = true: the paper, appendix A.1.
        annealing = 0.02: the paper, eq. 20, whose B = min(1, 0.01 + t / 10,000) reaches 1 within 2% of its 500,000
            updates; with a budget of n steps, 9,900 / n gives the same B.
    """

    Config = FlowConfig
    family = "posteriors and priors"
    closed_form_kl = False
    forms = ({"flow": "radial"}, {"constrained": False}, {"steps": 0})
    small = {"steps": 2}

    def build(self, network: Network) -> None:
        d, steps = self.latent_size, self.config.steps
        self.flow: AmortisedFlow = (
            PlanarFlow(d, steps, self.config.constrained) if self.config.flow == "planar" else RadialFlow(d, steps)
        )
        self.encoder = network.encoder(self.image_shape, 2 * d + steps * self.flow.numbers)
        self.decoder = network.decoder(d, self.image_shape)

    def posterior(self, x: Tensor, condition: Tensor | None = None) -> FlowPosterior:
        d = self.latent_size
        loc, a, context = self.encoder(x).to(x.dtype).tensor_split([d, 2 * d], dim=-1)
        return FlowPosterior(DiagonalNormal(loc, self.log_sigma(a)), self.flow, context)

    def regulariser(self, step: TrainingStep) -> Tensor:
        if not self.config.annealing:
            return step.kl
        B = (0.01 + 0.99 * step.progress / self.config.annealing).clamp(max=1)
        assert step.weights is not None
        log_joint = (step.weights.log_likelihood + step.weights.log_prior).mean(0)
        return step.kl + (1 - B) * log_joint

    def unavailable(self) -> dict[str, str]:
        if not self.config.steps:
            return {}
        return {"density_elsewhere": "planar and radial flows have no inverse: log q is only known at their own draws"}
