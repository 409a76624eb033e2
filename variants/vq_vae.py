"""VQ-VAE and its second stage, an autoregressive prior over the codes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Distribution

from .base import Batch, LogWeights, Loss, ParameterGroup, Variant, VariantConfig
from .options import added, between, not_negative, one_of, positive, without_effect
from .parts.autoregressive import AutoregressivePrior, PixelCNN
from .parts.distributions import CodePoint
from .parts.initialisation import check_uniform, initialise_uniform
from .parts.networks import Network, batched
from .registry import register


@dataclass
class VQConfig(VariantConfig):
    """The codebook has ``codes`` vectors of dimension ``code_size``. ``commitment`` is b. ``codebook`` is "ema" or
    "gradient", and ``decay`` is the decay rate of the averages. A codebook vector that is used for less than a fraction
    ``revive_below`` / ``codes`` of the positions is replaced by an encoder output (dead-code reset). The prior has
    ``prior_channels`` channels and ``prior_layers`` residual layers. ``initial_codes`` are "normal", with a mean
    squared length of 1, or "uniform LOW HIGH"."""

    codes: int = 128
    code_size: int = 16
    commitment: float = 0.25
    codebook: str = "ema"
    decay: float = 0.99
    revive_below: float = 0.01
    prior_channels: int = 32
    prior_layers: int = 2
    initial_codes: str = added("normal")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.codes >= 2:
            raise ValueError(f"variant.codes must be 2 or above, got {self.codes}")
        positive("variant.code_size", self.code_size)
        not_negative("variant.commitment", self.commitment)
        one_of("variant.codebook", self.codebook, ("ema", "gradient"))
        between("variant.decay", self.decay, 0, 1)
        not_negative("variant.revive_below", self.revive_below)
        positive("variant.prior_channels", self.prior_channels)
        not_negative("variant.prior_layers", self.prior_layers)
        if self.initial_codes != "normal":
            check_uniform("variant.initial_codes", self.initial_codes, ["normal"])
        self.check_no_normals()
        without_effect("variant.samples", self.samples, 1, "all draws from a point mass are the same")
        without_effect("variant.analytic_kl", self.analytic_kl, True, "the KL to a point mass is exact")


@register("vq_vae")
class VQVAE(Variant):
    """VQ-VAE: a grid of discrete codes with an autoregressive prior.

        loss = r + |sg[z_e] - e|^2 + b |z_e - sg[e]|^2,   e = the codebook vector nearest to z_e, position by position
        prior loss = -log p(codes), on codes that carry no gradient

    z_e is the encoder's output, sg stops the gradient, and b is ``commitment``. The decoder's gradient is copied from e
    to z_e. The second and third terms are summed over positions and dimensions, as r is over pixels. The codebook
    minimises the second term ("gradient"), or is an exponential moving average of the encoder's outputs ("ema").
    q(codes|x) is a point mass on discrete codes, so log q = 0 and

        ELBO = log p(x | its codes) + log p(codes)

    is a bound on log p(x). More samples cannot tighten it. The loss does not contain log p(codes). With more training,
    the codebook is used more evenly: distortion falls, but the codes cost more, and the ELBO can become worse. A latent
    vector contains the codes themselves, int64.

    References:
        van den Oord, Vinyals & Kavukcuoglu, *Neural Discrete Representation Learning*, NeurIPS 2017, eq. 3, section 3.3
        and appendix A.1. https://arxiv.org/abs/1711.00937
        van den Oord, Kalchbrenner & Kavukcuoglu, *Pixel Recurrent Neural Networks*, ICML 2016.
        https://arxiv.org/abs/1601.06759
        The authors' code, sonnet/src/nets/vqvae.py and vqvae_example.ipynb. https://github.com/google-deepmind/sonnet

    Deviations:
        1. The prior is trained in the same steps as the model, on the model's current codes, and not after the model.
        2. Codes that are no longer used are revived; the paper does not mention unused codes.
        3. The prior is a small PixelCNN: with ``prior_layers`` = 2 a code of a 7x7 grid sees half of the codes before
           it on average.

    Defaults:
        codes = 128: chosen here for the small images of the boards, as in the Keras example (target ``vq-keras``); the
            authors' example has 512.
        code_size = 16: chosen here, likewise; the authors' example has 64.
        commitment = 0.25: the authors' code (vqvae_example.ipynb).
        codebook = ema: the paper, appendix A.1; the authors' code says that "ema" mostly trains faster than the
            gradient, which their example uses.
        decay = 0.99: the authors' code (vqvae_example.ipynb).
        revive_below = 0.01: chosen here, without a search, see deviation 2.
        prior_channels = 32: chosen here: with 64 channels and 3 layers a step took twice as long, for the same bound.
        prior_layers = 2: chosen here, likewise.
        initial_codes = normal: chosen here, without a search; the authors' code draws uniform codes.
    """

    Config = VQConfig
    family = "discrete"
    search = {"codes": (64, 128, 256, 512), "commitment": (0.25, 1.0)}
    forms = ({"codebook": "gradient"},)
    small = {"codes": 8, "code_size": 3, "prior_channels": 4, "prior_layers": 1}
    codebook: Tensor
    sums: Tensor
    counts: Tensor

    def build(self, network: Network) -> None:
        K, D = self.config.codes, self.config.code_size
        self.grid = network.grid(self.image_shape)
        self.encoder = network.grid_encoder(self.image_shape, D)
        self.decoder = network.grid_decoder(D, self.image_shape)
        self.pixelcnn = PixelCNN(K, self.config.prior_channels, self.config.prior_layers)
        codebook = torch.randn(K, D) / D**0.5
        if self.config.initial_codes != "normal":
            initialise_uniform(codebook, self.config.initial_codes)
        if self.config.codebook == "gradient":
            self.codebook = nn.Parameter(codebook)
        else:
            self.register_buffer("codebook", codebook)
            self.register_buffer("sums", codebook.clone())
        # Moving averages of how often each code is used per batch; they begin at 1.
        self.register_buffer("counts", torch.ones(K))
        self._last: tuple[Tensor, Tensor] | None = None

    def encode(self, x: Tensor) -> Tensor:
        """z_e, the encoder's outputs (batch, positions, code_size)."""
        return self.encoder(x).to(x.dtype).flatten(2).transpose(1, 2)

    def nearest(self, z_e: Tensor) -> Tensor:
        """Index of the nearest codebook vector, int64 (batch, positions)."""
        # |z - e|^2 without |z|^2, which is the same for all codes. In bfloat16 the nearest code would often be wrong.
        with torch.autocast(z_e.device.type, enabled=False):
            return (self.codebook.square().sum(-1) - 2 * z_e @ self.codebook.T).argmin(-1)

    def prior(self, condition: Tensor | None = None) -> AutoregressivePrior:
        return AutoregressivePrior(self.pixelcnn, self.grid)

    def posterior(self, x: Tensor, condition: Tensor | None = None) -> CodePoint:
        return CodePoint(self.nearest(self.encode(x)))

    def decode(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        return self._decode_vectors(F.embedding(z, self.codebook))

    def _decode_vectors(self, e: Tensor) -> Tensor:
        maps = e.transpose(-1, -2).unflatten(-1, self.grid)
        return batched(self.decoder, maps, event_dimensions=3).to(e.dtype)

    def loss(self, batch: Batch, progress: Tensor) -> Loss:
        x = batch.images
        z_e = self.encode(x)
        codes = self.nearest(z_e)
        e = F.embedding(codes, self.codebook)
        r = -self.observation(self._decode_vectors(z_e + (e - z_e).detach())).log_prob(x)
        commitment = (z_e - e.detach()).square().flatten(1).sum(-1)
        loss = r + self.config.commitment * commitment
        if self.config.codebook == "gradient":
            loss = loss + (z_e.detach() - e).square().flatten(1).sum(-1)
        # The prior is trained on the same codes, which have no gradient.
        kl = -self.prior().log_prob(codes)
        self._last = (z_e.detach().flatten(0, 1), codes.flatten())
        terms = {"reconstruction": r, "commitment": commitment, "kl": kl}
        return Loss({"model": loss.mean(), "prior": kl.mean()}, terms)

    def parameter_groups(self) -> dict[str, ParameterGroup]:
        return self.model_and(prior=ParameterGroup(list(self.pixelcnn.parameters())))

    def estimates_gradient(self) -> tuple[str, ...]:
        return ("encoder", "codebook")

    @torch.no_grad()
    def after_step(self) -> None:
        if self._last is None:
            return
        (vectors, codes), self._last = self._last, None
        K, decay = self.config.codes, self.config.decay
        used = F.one_hot(codes, K).to(vectors.dtype)
        self.counts.lerp_(used.sum(0), 1 - decay)
        if self.config.codebook == "ema":
            # Appendix A.1, with Laplace smoothing of the counts.
            self.sums.lerp_(used.T @ vectors, 1 - decay)
            total = self.counts.sum()
            smoothed = (self.counts + 1e-5) / (total + K * 1e-5) * total
            self.codebook.copy_(self.sums / smoothed.unsqueeze(-1))
        # Every code gets a candidate, but only rarely used codes take it. This avoids a synchronisation with the GPU.
        fair = self.counts.sum() / K
        dead = (self.counts < self.config.revive_below * fair).unsqueeze(-1)
        candidates = vectors[torch.randint(len(vectors), (K,), device=vectors.device)]
        self.codebook.copy_(torch.where(dead, candidates, self.codebook))
        self.counts.copy_(torch.where(dead.squeeze(-1), fair, self.counts))
        if self.config.codebook == "ema":
            self.sums.copy_(torch.where(dead, candidates * fair, self.sums))

    def log_weights(self, x: Tensor, q: Distribution, samples: int, condition: Tensor | None = None) -> LogWeights:
        # Every draw from a point mass is the same: decode it once.
        codes = q.sample()
        log_p, log_prior = self.likelihood(codes).log_prob(x), self.prior().log_prob(codes)
        log_p, log_prior = log_p.expand(samples, -1), log_prior.expand(samples, -1)
        return LogWeights(log_p, log_prior, torch.zeros_like(log_prior), codes.expand(samples, *codes.shape))

    @torch.no_grad()
    def sample_latent(self, count: int, condition: Tensor | None = None) -> Tensor:
        # log_weights is overridden only to decode once: there is one level of latent variables.
        return super().sample_latent(count, condition)

    def represent(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """The concatenated codebook vectors of the image's codes (batch, positions * code_size)."""
        return F.embedding(self.posterior(x).mode, self.codebook).flatten(1)

    def code(self, q: CodePoint) -> Tensor:  # type: ignore[override]
        return q.mode

    def discrete_code(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.posterior(x).mode

    def unavailable(self) -> dict[str, str]:
        return {"continuous_latent": "discrete latent variables: see code perplexity"}
