"""Conditional VAE."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Distribution

from .base import Batch, Loss, ParameterGroup, Variant, VariantConfig
from .options import added, between, one_of, positive, without_effect
from .parts.distributions import DiagonalNormal
from .parts.networks import BATCH_NORMALISATIONS, Network, batched
from .registry import register


@dataclass
class CVAEConfig(VariantConfig):
    """``networks`` is "shared" or "separate".

    "shared": one network maps the condition to ``features`` numbers, which the prior, the posterior and the decoder
    get; another ``features`` numbers come from the image and go to the posterior. "separate", for conditions that show
    pixels: the prior has a separate network, whose input is the given pixels (missing pixels are -1); the input of the
    posterior is the whole image, and that of the decoder only z. ``guess`` is the fraction of training over which
    another network learns to predict the missing pixels; it is frozen afterwards. The input of the prior then contains
    the predictions in place of the missing pixels. With 0 there is no such network.
    """

    features: int = 64
    networks: str = added("shared")
    guess: float = added(0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("variant.features", self.features)
        one_of("variant.networks", self.networks, ("shared", "separate"))
        between("variant.guess", self.guess, 0, 1)
        if self.networks == "separate":
            without_effect("variant.features", self.features, 64, "separate networks share none")
        else:
            without_effect("variant.guess", self.guess, 0.0, "it is read by a prior of variant.networks=separate")


@register("cvae")
class CVAE(Variant):
    """Conditional VAE with a learned prior: images given their class, or missing pixels given the others.

        loss = -E_q log p(x|z, c) + KL(q(z|x, c) || p(z|c))

    c is the condition (x in the paper), and x is the image (y in the paper). A network computes the prior p(z|c). Given
    pixels (such as with ``dataset.condition=quadrants-2``) are not scored: p(x|z, c) is over the missing pixels only.

    With separate networks and a guess g(c) of the missing pixels (``networks``, ``guess``):

        p(z|c) reads c and g(c),   q(z|x),   p(x|z);   guess loss = cross-entropy of g(c) and the missing pixels of x

    References:
        Sohn, Lee & Yan, *Learning Structured Output Representation using Deep Conditional Generative Models*, NeurIPS
        2015. https://papers.nips.cc/paper/5775

    Deviations:
        1. One network encodes the condition for the prior, the posterior and the decoder; the paper has three networks.
        2. By default there is no deterministic first guess of the missing pixels; with ``guess``, the prior gets one,
           which is the paper's recurrent connection. The objective is that of the CVAE alone, not its mixture
           with an objective whose z is sampled from the prior. The guess is trained together with the model until it
           is frozen, not before the model. Its error stays in the sum of losses that the history of a run calls
           ``loss``.
        3. The paper conditions on quadrants of MNIST; a class as the condition is this suite's addition.
        4. The encoder gives the mean and variance of z as in the VAE, and a head adds the effect of the condition. This
           head and that of the prior begin at 0, so that training begins with the VAE, apart from its decoder, which
           also gets the condition.

    Defaults:
        features = 64: chosen here, without a search: the paper has no such layer, see deviation 1.
        networks = shared: chosen here: it supports both classes and pixels. "separate" has the three networks of Pyro's
            tutorial on this model, whose decoder, unlike the paper's, does not get the condition.
        guess = 0.0: chosen here: the model without a guess, see deviation 2.
    """

    Config = CVAEConfig
    conditional = True
    family = "conditional"
    small = {"features": 6}

    def build(self, network: Network) -> None:
        shape, features, latent = self.condition_shape, self.config.features, self.latent_size
        assert shape is not None
        if self.config.networks == "separate":
            return self._build_separate(network)
        self.condition_body: nn.Module
        if len(shape) == 1:
            self.condition_body = nn.Linear(shape[0], features)
        else:
            channels, height, width = shape
            self.condition_body = network.encoder((channels, height, width), features)
        self.encoder = network.encoder(self.image_shape, 2 * latent + features)
        self.posterior_head = _head(2 * features, features, 2 * latent)
        self.prior_head = _head(features, features, 2 * latent)
        self.decoder = network.decoder(latent + features, self.image_shape)

    def _build_separate(self, network: Network) -> None:
        channels, height, width = self.image_shape
        if self.condition_shape != (channels + 1, height, width):
            raise ValueError(
                "variant.networks=separate needs a condition that shows a part of the pixels, such as "
                f"dataset.condition=quadrants-2; the condition here has the shape {self.condition_shape}"
            )
        self.encoder = network.encoder(self.image_shape, 2 * self.latent_size)
        self.prior_encoder = network.encoder(self.image_shape, 2 * self.latent_size)
        self.decoder = network.decoder(self.latent_size, self.image_shape)
        if self.config.guess:
            pixels = network.encoder(self.image_shape, channels * height * width)
            self.guess = nn.Sequential(pixels, nn.Unflatten(1, self.image_shape))
            if any(isinstance(module, BATCH_NORMALISATIONS) for module in pixels.modules()):
                raise ValueError(
                    "variant.guess needs a network without batch normalisation, whose averages would go on changing "
                    "once it is frozen: set network.normalisation=none or use network=mlp"
                )

    def prior(self, condition: Tensor | None = None) -> Distribution:
        if self.config.networks == "separate":
            shown = self._shown(condition)
            if self.config.guess:
                with torch.no_grad():
                    guessed = self.guess(shown).to(shown.dtype).sigmoid()
                shown = torch.where(self._given(condition), shown, guessed)
            return self._normal(self.prior_encoder(shown).to(shown.dtype))
        read = self.read(condition)
        return self._normal(self.prior_head(read).to(read.dtype))

    def posterior(self, x: Tensor, condition: Tensor | None = None) -> Distribution:
        of_image = self.encoder(x).to(x.dtype)
        if self.config.networks == "separate":
            return self._normal(of_image)
        base, features = of_image.tensor_split([2 * self.latent_size], dim=-1)
        both = torch.cat([features, self.read(condition)], dim=-1)
        return self._normal(base + self.posterior_head(both).to(x.dtype))

    def decode(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        if self.config.networks == "separate":
            return super().decode(z, condition=condition)
        given = self.read(condition).expand(*z.shape[:-1], -1)
        return batched(self.decoder, torch.cat([z, given], dim=-1)).to(z.dtype)

    def loss(self, batch: Batch, progress: Tensor) -> Loss:
        found = super().loss(batch, progress)
        if not self.config.guess:
            return found
        logits = self.guess(self._shown(batch.condition)).to(batch.images.dtype)
        each = F.binary_cross_entropy_with_logits(logits, batch.images, reduction="none")
        error = each.masked_fill(self._given(batch.condition), 0).flatten(1).sum(-1)
        return Loss({**found.by_group, "guess": error.mean()}, {**found.terms, "guess": error})

    def parameter_groups(self) -> dict[str, ParameterGroup]:
        if not self.config.guess:
            return super().parameter_groups()
        return self.model_and(guess=ParameterGroup(list(self.guess.parameters()), until=self.config.guess))

    def _given(self, condition: Tensor | None) -> Tensor:
        """The mask of given pixels, bool (batch, 1, height, width)."""
        if condition is None:
            raise ValueError("cvae needs the condition of its images")
        return condition[:, -1:] > 0.5

    def _shown(self, condition: Tensor | None) -> Tensor:
        """The given pixels, with -1 in place of the missing ones."""
        given = self._given(condition)
        assert condition is not None
        return condition[:, :-1].masked_fill(~given, -1)

    def _normal(self, parameters: Tensor) -> DiagonalNormal:
        loc, a = parameters.chunk(2, dim=-1)
        return DiagonalNormal(loc, self.log_sigma(a))

    def read(self, condition: Tensor | None) -> Tensor:
        """Features (*batch, features) of the condition (*batch, *condition_shape)."""
        if condition is None or self.condition_shape is None:
            raise ValueError("cvae needs the condition of its images")
        return batched(self.condition_body, condition, len(self.condition_shape)).to(condition.dtype)


def _head(inputs: int, hidden: int, outputs: int) -> nn.Module:
    last = nn.Linear(hidden, outputs)
    # Zero at first: p(z|c) then is N(0, I) (with the default deviation), and q(z|x, c) is the encoder's distribution.
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.SiLU(), nn.Linear(inputs, hidden), nn.SiLU(), last)
