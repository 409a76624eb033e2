"""Observation models: the distribution p(x|z) over images, given a decoder's output.

Every observation model is a normalised distribution over images. Its ``log_prob`` is in nats per image, summed over
pixels and channels. For binary pixels it is a log-mass. For 8-bit pixels every model gives the log-mass of the 256
levels: exactly if the density can be integrated over a level in closed form, otherwise a lower bound from dequantised
data.

A data set may set another training loss for grey pixels (:class:`TrainedBy`). Such a loss is not a distribution, and
evaluation does not use it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..options import one_of, positive, without_effect
from .distributions import LOG_2PI, ONE_DRAW, Distribution, Shape

LEVELS = 256


class Image(Distribution):
    """A distribution over images with independent pixels: an event is (channels, height, width), pixels in [0, 1].

    Subclasses define ``pixel_log_prob``, in nats for every pixel and channel (*batch, channels, height, width).
    """

    def __init__(self, shape: torch.Size) -> None:
        super().__init__(shape[:-3], shape[-3:])

    def pixel_log_prob(self, value: Tensor) -> Tensor:
        raise NotImplementedError

    def log_prob(self, value: Tensor) -> Tensor:
        return self.pixel_log_prob(value).flatten(-3).sum(-1)


class CompletedImage(Image):
    """A distribution over the missing pixels of images whose other pixels are given.

    ``image`` is a distribution over all pixels; only those where ``missing`` is true count in ``log_prob``. ``given``
    (batch, channels, height, width) are the given pixels; ``missing`` (batch, 1, height, width) is true where a pixel
    is not given. The mean and the draws contain the given pixels unchanged.
    """

    def __init__(self, image: Image, given: Tensor, missing: Tensor) -> None:
        self.image, self.given, self.missing = image, given, missing
        super().__init__(image.batch_shape + image.event_shape)

    @property
    def mean(self) -> Tensor:
        return self._completed(self.image.mean)

    def sample(self, sample_shape: Shape = ONE_DRAW) -> Tensor:
        return self._completed(self.image.sample(sample_shape))

    def pixel_log_prob(self, value: Tensor) -> Tensor:
        log_prob = self.image.pixel_log_prob(value)
        return torch.where(self.missing, log_prob, torch.zeros_like(log_prob))

    def _completed(self, pixels: Tensor) -> Tensor:
        return torch.where(self.missing, pixels, self.given.to(pixels.dtype))


class BernoulliImage(Image):
    """Independent Bernoulli pixels with the given ``logits`` (*batch, channels, height, width); data in {0, 1}."""

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits
        super().__init__(logits.shape)

    @property
    def mean(self) -> Tensor:
        return self.logits.sigmoid()

    def sample(self, sample_shape: Shape = ONE_DRAW) -> Tensor:
        return torch.bernoulli(self.mean.expand(*sample_shape, *self.logits.shape))

    def pixel_log_prob(self, value: Tensor) -> Tensor:
        return -F.softplus((1 - 2 * value) * self.logits)

    def log_prob(self, value: Tensor) -> Tensor:
        log_mass: Tensor = _BernoulliLogMass.apply(self.logits, value)
        return log_mass


class CalibratedBernoulliImage(BernoulliImage):
    """Bernoulli pixels with calibrated ``logits``; the mean image is that of the decoder's own logits ``decoded``. Both
    are (*batch, channels, height, width)."""

    def __init__(self, logits: Tensor, decoded: Tensor) -> None:
        super().__init__(logits)
        self.decoded = decoded

    @property
    def mean(self) -> Tensor:
        return self.decoded.sigmoid()

    def sample(self, sample_shape: Shape = ONE_DRAW) -> Tensor:
        return BernoulliImage(self.logits).sample(sample_shape)


class _BernoulliLogMass(torch.autograd.Function):
    """The Bernoulli log-mass, summed over pixels: with x in {0, 1}, logits l and u = (1 - 2x) l, each pixel has
    x l - log(1 + e^l) = -log(1 + e^u).

    On a CPU, log(1 + e^u) is computed as max(u, 0) - log sigmoid(|u|). Each of these sigmoids is 1/2 or more, so that a
    product of 16 is at least 2^-16 and needs only one logarithm, which takes 0.6 of the time. Softplus is mostly log1p.
    It took 0.9 to 3.3 times as long on one machine at different hours (importance sampling as a whole: 1.0 to 1.5).
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor, value: Tensor) -> Tensor:
        u = torch.addcmul(logits, value, logits, value=-2)
        if u.device.type != "cpu":
            return -F.softplus(u).flatten(-3).sum(-1)
        factors = u.abs().sigmoid_().flatten(-3)
        together = math.gcd(factors.shape[-1], 16)
        log_sigmoids = factors.unflatten(-1, (together, -1)).prod(-2).log_()
        return log_sigmoids.sum(-1) - u.relu_().flatten(-3).sum(-1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        logits, value = ctx.saved_tensors
        return gradients[0][..., None, None, None] * (value - logits.sigmoid()), None


class DiscretisedLogisticImage(Image):
    """Logistic density around ``location``, integrated over each of the 256 bins of an 8-bit pixel (Kingma et al. 2016,
    section 5.2). This is a mass function, so ``log_prob`` is at most 0. The first and last bin include the tails.

    ``location`` (*batch, channels, height, width) in [0, 1]; ``log_scale`` broadcasts to it; data are byte / 255.
    ``mean`` is the location: the mean of the density, not of the mass function, whose tails are cut at 0 and 1.
    """

    half_bin = 0.5 / 255

    def __init__(self, location: Tensor, log_scale: Tensor) -> None:
        self.location, self.log_scale = location, log_scale
        super().__init__(location.shape)

    @property
    def mean(self) -> Tensor:
        return self.location

    def sample(self, sample_shape: Shape = ONE_DRAW) -> Tensor:
        u = torch.rand(*sample_shape, *self.location.shape, device=self.location.device).clamp(1e-6, 1 - 1e-6)
        x = self.location + self.log_scale.exp() * torch.logit(u)
        return (x * 255).round().clamp(0, 255) / 255

    def pixel_log_prob(self, value: Tensor) -> Tensor:
        inverse_scale = (-self.log_scale).exp()
        centred = value - self.location
        upper = (centred + self.half_bin) * inverse_scale
        lower = (centred - self.half_bin) * inverse_scale
        # sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - e^(b - a)) avoids subtracting nearly equal numbers.
        bin_width = torch.log(-torch.expm1(-2 * self.half_bin * inverse_scale))
        below, above = F.logsigmoid(upper), F.logsigmoid(-lower)
        first, last = value < self.half_bin, value > 1 - self.half_bin
        return torch.where(first, below, torch.where(last, above, below + above + bin_width))


class ContinuousBernoulliImage(Image):
    """Continuous Bernoulli pixels (Loaiza-Ganem & Cunningham 2019): the density e^(u y) u / (e^u - 1) on [0, 1],
    integrated over each of the 256 intervals of width 1/256. This is a mass function.

    ``logits`` u (*batch, channels, height, width); data are byte / 255.
    """

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits
        super().__init__(logits.shape)

    @property
    def mean(self) -> Tensor:
        # E[y] = 1/2 + (coth h - 1/h) / 2 with h = u/2; near 0 its Taylor series is used.
        h = self.logits / 2
        small = h.abs() < 0.25
        safe = torch.where(small, torch.ones_like(h), h)
        langevin = torch.where(small, h / 3 - h**3 / 45 + 2 * h**5 / 945, 1 / torch.tanh(safe) - 1 / safe)
        return dequantised_to_level(0.5 + langevin / 2)

    def pixel_log_prob(self, value: Tensor) -> Tensor:
        # The integral of e^(u y) over [b/256, (b+1)/256] is e^(u b/256) (e^(u/256) - 1) / u, and
        # (e^v - 1) / v = e^(v/2) sinh(v/2) / (v/2), for either sign of v.
        u = self.logits
        centre = (value * (LEVELS - 1) + 0.5) / LEVELS
        return u * (centre - 0.5) + log_sinhc(u / (2 * LEVELS)) - log_sinhc(u / 2) - math.log(LEVELS)


class DequantisedImage(Image):
    """A density of real-valued pixels, applied to dequantised 8-bit pixels: log p((byte + u) / 256) - D log 256.

    u is uniform on [0, 1) and drawn for every location, that is for every draw of z; D is the number of pixel channels.
    The mean over u is a lower bound on the log-mass of the levels (Theis et al. 2016, section 3.1), and so is a
    log-mean-exp over draws of z and u. Subclasses define the elementwise ``log_density`` of pixels y in [0, 1], around
    ``location``.
    """

    def __init__(self, location: Tensor, log_scale: Tensor) -> None:
        self.location, self.log_scale = location, log_scale
        super().__init__(location.shape)

    @property
    def mean(self) -> Tensor:
        return dequantised_to_level(self.location)

    def pixel_log_prob(self, value: Tensor) -> Tensor:
        u = torch.rand_like(value.expand(torch.broadcast_shapes(value.shape, self.location.shape)))
        y = (value * (LEVELS - 1) + u) / LEVELS
        return self.log_density(y) - math.log(LEVELS)

    def log_density(self, y: Tensor) -> Tensor:
        """Log-density of every pixel, in nats per unit of [0, 1]."""
        raise NotImplementedError


class NormalImage(DequantisedImage):
    """Normal pixels on dequantised data."""

    def log_density(self, y: Tensor) -> Tensor:
        standardised = (y - self.location) * (-self.log_scale).exp()
        return -0.5 * (standardised.square() + LOG_2PI) - self.log_scale


class LogCoshImage(DequantisedImage):
    """Pixels whose negative log-density is the log-cosh loss, on dequantised data (Chen et al. 2019, eq. 9):

    p(y) = sech(a t)^(1/a) / (s Z),   t = (y - location) / s,   Z = B(1/(2a), 1/2) / a
    """

    # a: the loss is quadratic for errors below s / a and linear above.
    sharpness = 10.0

    def log_density(self, y: Tensor) -> Tensor:
        a = self.sharpness
        t = (y - self.location) * (-self.log_scale).exp()
        # B(1/(2a), 1/2) = Gamma(1/(2a)) Gamma(1/2) / Gamma(1/(2a) + 1/2)
        log_Z = math.lgamma(0.5 / a) + math.lgamma(0.5) - math.lgamma(0.5 / a + 0.5) - math.log(a)
        return -log_cosh(a * t) / a - log_Z - self.log_scale


class PixelLoss(Image):
    """A loss for grey pixels that replaces the likelihood: ``log_prob`` is minus the loss, summed over pixels and
    multiplied by ``weight``. It is not normalised and has no draws. Subclasses define the elementwise ``loss``."""

    def __init__(self, output: Tensor, weight: float) -> None:
        self.output, self.weight = output, weight
        super().__init__(output.shape)

    def loss(self, value: Tensor) -> Tensor:
        raise NotImplementedError

    def pixel_log_prob(self, value: Tensor) -> Tensor:
        return -self.weight * self.loss(value)


class CrossEntropy(PixelLoss):
    """-[x log p + (1 - x) log(1 - p)] with p = sigmoid(output), x in [0, 1]."""

    @property
    def mean(self) -> Tensor:
        return self.output.sigmoid()

    def loss(self, value: Tensor) -> Tensor:
        return F.softplus(self.output) - value * self.output


class SquaredError(PixelLoss):
    """(x - output)^2."""

    @property
    def mean(self) -> Tensor:
        return self.output

    def loss(self, value: Tensor) -> Tensor:
        return (value - self.output).square()


def log_cosh(u: Tensor) -> Tensor:
    """log cosh u, elementwise, without overflow: |u| + softplus(-2 |u|) - log 2."""
    return u.abs() + F.softplus(-2 * u.abs()) - math.log(2)


def log_sinhc(h: Tensor) -> Tensor:
    """log(sinh(h) / h), elementwise, without overflow and without cancellation at 0."""
    a = h.abs()
    small = a < 0.25
    safe = torch.where(small, torch.ones_like(a), a)
    return torch.where(
        small, a**2 / 6 - a**4 / 180 + a**6 / 2835, safe + torch.log1p(-torch.exp(-2 * safe)) - torch.log(2 * safe)
    )


def dequantised_to_level(y: Tensor) -> Tensor:
    """Convert a dequantised pixel y to the scale of data, on which a level is byte / 255. The centre of the interval
    [byte / 256, (byte + 1) / 256) becomes byte / 255."""
    return ((LEVELS * y - 0.5) / (LEVELS - 1)).clamp(0, 1)


class ObservationModel(nn.Module, ABC):
    """Maps a decoder's output (*batch, channels, height, width) to a distribution over images.

    Parameters of the model itself (a scale) are trained with the variant, or fitted after training by maximum
    likelihood.
    """

    # Whether the pixels are binary (reported in nats/image) or 8-bit (reported in bits/dim).
    binary = False
    # Whether the model has a scale, which can be learned or fixed.
    has_scale = False
    # Whether the decoder's output is the location of the pixels itself, not the argument of a sigmoid.
    linear = False
    # Whether training uses this likelihood. False if it uses another loss in its place.
    is_trained = True

    @abstractmethod
    def forward(self, output: Tensor) -> Image:
        """p(x|z), given the decoder's output."""

    @contextmanager
    def in_training(self) -> Iterator[None]:
        """A context in which :meth:`forward` returns the training loss, if there is one, in place of the likelihood."""
        yield


class Bernoulli(ObservationModel):
    """Bernoulli pixels; the decoder's output is their logits."""

    binary = True

    def forward(self, output: Tensor) -> BernoulliImage:
        return BernoulliImage(output)


class CalibratedBernoulli(Bernoulli):
    """Bernoulli pixels for a decoder that is trained with another loss. A slope and an offset, fitted after training,
    map the decoder's output to logits. The mean image is still the sigmoid of the output itself, as in training."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.ones(()))
        self.offset = nn.Parameter(torch.zeros(()))

    def forward(self, output: Tensor) -> CalibratedBernoulliImage:
        return CalibratedBernoulliImage(self.slope * output + self.offset, output)


class ContinuousBernoulli(ObservationModel):
    """Continuous Bernoulli pixels; the decoder's output is their logits."""

    def forward(self, output: Tensor) -> ContinuousBernoulliImage:
        return ContinuousBernoulliImage(output)


class Scaled(ObservationModel):
    """Pixels with a location and a scale. The location is the sigmoid of the decoder's output, or the output itself if
    ``linear``. There is one scale per channel, in units of [0, 1]; it is learned unless ``scale`` fixes it."""

    has_scale = True
    # e^-2.5 is about 21 grey levels, the order of magnitude of a blurred reconstruction's error.
    initial_log_scale = -2.5

    def __init__(self, image_shape: tuple[int, int, int], scale: float | None = None, linear: bool = False) -> None:
        super().__init__()
        self.linear = linear
        log_scale = torch.full((image_shape[0], 1, 1), self.initial_log_scale if scale is None else math.log(scale))
        self.log_scale: Tensor
        if scale is None:
            self.log_scale = nn.Parameter(log_scale)
        else:
            self.register_buffer("log_scale", log_scale)

    def location(self, output: Tensor) -> Tensor:
        """The location of the pixels, given the decoder's ``output``."""
        return output if self.linear else output.sigmoid()


class DiscretisedLogistic(Scaled):
    """Discretised logistic pixels."""

    def forward(self, output: Tensor) -> DiscretisedLogisticImage:
        return DiscretisedLogisticImage(self.location(output), self.log_scale)


class Normal(Scaled):
    """Normal pixels on dequantised data."""

    def forward(self, output: Tensor) -> NormalImage:
        return NormalImage(self.location(output), self.log_scale)


class LogCosh(Scaled):
    """Log-cosh pixels on dequantised data."""

    def forward(self, output: Tensor) -> LogCoshImage:
        return LogCoshImage(self.location(output), self.log_scale)


class TrainedBy(ObservationModel):
    """An observation model that another loss of grey pixels replaces in training: "cross_entropy" or "squared_error",
    multiplied by ``weight``. Evaluation uses ``model``, whose scale is fitted after training.

    The loss compares the location with byte / 255. The dequantised models, normal and log-cosh, then read it as
    (byte + u) / 256: half a level away from it at most.
    """

    has_scale = True
    is_trained = False

    def __init__(self, model: Scaled, loss: str, weight: float = 1.0) -> None:
        super().__init__()
        self.model, self.loss, self.weight = model, loss, weight
        self.linear = model.linear
        self._training = False

    def forward(self, output: Tensor) -> Image:
        if not self._training:
            return self.model(output)
        if self.loss == "cross_entropy":
            return CrossEntropy(output, self.weight)
        return SquaredError(self.model.location(output), self.weight)

    @contextmanager
    def in_training(self) -> Iterator[None]:
        before, self._training = self._training, True
        try:
            yield
        finally:
            self._training = before


OBSERVATION_MODELS: dict[str, type[ObservationModel]] = {
    "bernoulli": Bernoulli,
    "continuous_bernoulli": ContinuousBernoulli,
    "gaussian": Normal,
    "discretised_logistic": DiscretisedLogistic,
    "log_cosh": LogCosh,
}


# The losses of pixels that a data set can set for training.
TRAINING_LOSSES = ("likelihood", "cross_entropy", "squared_error")
# The meaning of the decoder's output: the argument of a sigmoid, or the pixels themselves.
OUTPUTS = ("sigmoid", "linear")


def check_observation(
    name: str, scale: float | None, loss: str = "likelihood", loss_weight: float = 1.0, output: str = "sigmoid"
) -> None:
    """Raise ``ValueError`` for an unknown observation model, or for a fixed scale, training loss or output that it does
    not support."""
    one_of("observation model", name, OBSERVATION_MODELS)
    one_of("training loss", loss, TRAINING_LOSSES)
    one_of("output", output, OUTPUTS)
    positive("loss_weight", loss_weight)
    model = OBSERVATION_MODELS[name]
    if scale is not None:
        if not model.has_scale:
            raise ValueError(f"observation model {name!r} has no scale to be fixed at {scale}")
        positive("scale", scale)
    if loss == "likelihood":
        without_effect("loss_weight", loss_weight, 1.0, "the likelihood is trained as it is")
    elif not model.has_scale:
        why = "; of binary pixels the cross-entropy is the likelihood already" if model.binary else ""
        raise ValueError(f"training loss {loss!r} needs an observation model with a scale, got {name!r}{why}")
    if output == "linear" and not model.has_scale:
        raise ValueError(f"output 'linear' needs an observation model with a scale, got {name!r}")
    if output == "linear" and loss == "cross_entropy":
        raise ValueError("training loss 'cross_entropy' needs pixels between 0 and 1: output 'sigmoid', got 'linear'")


def observation_model(
    name: str,
    image_shape: tuple[int, int, int],
    scale: float | None = None,
    trained: bool = True,
    loss: str = "likelihood",
    loss_weight: float = 1.0,
    output: str = "sigmoid",
) -> ObservationModel:
    """A new observation model for images of ``image_shape`` (channels, height, width).

    ``scale`` fixes its scale, in units of [0, 1]. ``trained`` is False for variants whose loss does not use the
    likelihood (:attr:`Variant.trains_observation`); other variants train ``loss``, multiplied by ``loss_weight``. With
    ``output`` "linear" the decoder's output is the location of the pixels itself.
    """
    check_observation(name, scale, loss, loss_weight, output)
    kind = OBSERVATION_MODELS[name]
    if kind is Bernoulli and not trained:
        return CalibratedBernoulli()
    if not issubclass(kind, Scaled):
        return kind()
    model = kind(image_shape, scale, output == "linear")
    return TrainedBy(model, loss, loss_weight) if trained and loss != "likelihood" else model
