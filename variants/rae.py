"""Regularised autoencoder."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .autoencoder import Autoencoder, AutoencoderConfig, random_signs
from .base import TrainingStep
from .options import check_form, not_negative
from .parts.networks import running_averages
from .registry import register

# Form -> the options that only this form uses.
FORMS: dict[str, tuple[str, ...]] = {"l2": ("l2_weight",), "gradient_penalty": ("gradient_weight",), "none": ()}


@dataclass
class RAEConfig(AutoencoderConfig):
    """``code_weight`` is beta. ``form`` is the penalty of the decoder: "l2" with the weight ``l2_weight``,
    "gradient_penalty" with the weight ``gradient_weight``, or "none"."""

    form: str = "l2"
    code_weight: float = 0.0128
    l2_weight: float = 1e-4
    gradient_weight: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        check_form(self, FORMS)
        not_negative("variant.code_weight", self.code_weight)
        not_negative("variant.l2_weight", self.l2_weight)
        not_negative("variant.gradient_weight", self.gradient_weight)


@register("rae")
class RAE(Autoencoder):
    """Regularised autoencoder: small codes and a smooth decoder; samples come from a density fitted to the codes.

        loss = |x - G(z)|^2 + beta |z|^2 / 2 + lambda R
        R = |theta|^2                                                 ("l2")
        R = |J|_F^2,   J = dG/dz                                      ("gradient_penalty")
        R = 0                                                         ("none")

    The squared error is summed over pixels, theta are the weights of the decoder's layers without biases, and J is the
    Jacobian of the decoder at the code of the image. |J|_F^2 is estimated by |J^T v|^2, which takes one backward pass:
    v has independent random signs, so the mean is |J|_F^2, because Cov(v) = I. beta = 0 with form "none" gives ``ae``.
    There is no prior: after training, a mixture of ten Gaussians is fitted to the codes of training images, and the
    boards show the distance of its samples as *FID, mixture sampler* (in the library: ``fit_mixture``).

    References:
        Ghosh, Sajjadi, Vergari, Black & Schölkopf, *From Variational to Deterministic Autoencoders*, ICLR 2020.
        https://arxiv.org/abs/1903.12436
        The authors' code, models/rae/ and configurations/config.py.
        https://github.com/ParthaEth/Regularized_autoencoders-RAE-
        Hutchinson, *A Stochastic Estimator of the Trace of the Influence Matrix*, 1989.
        https://doi.org/10.1080/03610918908812806

    Deviations:
        1. The penalty on gradients is the paper's; the authors' code has |d(sum of squared pixels)/dz|^2 in its place.
        2. "l2" is over all layers of the decoder, as in the authors' models/rae/rae_celeba.py; rae_mnist.py leaves out
           the first one.
        3. Spectral normalisation of the decoder (RAE-SN in the paper) is not offered.
        4. If the decoder has batch normalisation, J is the Jacobian of the decoder in evaluation mode, with running
           statistics, because with batch statistics an image depends on the codes of the other images.

    Defaults:
        form = l2: the paper's best on MNIST by the authors' code (configurations/config.py, FID 8.69; gradient penalty
            11.54, neither 9.81).
        code_weight = 0.0128 (celeba 0.0384): the authors' code (configurations/config.py, RAE-L2): 1e-4 times the mean
            square of a code of 16 (CelebA 64), beside the mean error of 1,024 (CelebA 12,288) pixels.
        l2_weight = 0.0001: the authors' code (configurations/config.py, RAE-L2, MNIST): 1e-7, beside the mean error of
            1,024 pixels. For CelebA (12,288 pixels), their 1e-7 corresponds to 1.2e-3 here; it is not a default,
            because ``l2_weight`` can only be set with the form "l2".
        gradient_weight = 0.01: chosen here, without a search: the authors' weights belong to another penalty, see
            deviation 1.
    """

    Config = RAEConfig
    dataset_defaults = {"celeba": {"code_weight": 0.0384}}
    forms = ({"form": "gradient_penalty"}, {"form": "none"})
    batch_statistics = ("l2",)

    def regulariser(self, step: TrainingStep) -> Tensor:
        z = step.z[0]
        penalty = self.config.code_weight * step.log("code", z.square().sum(-1) / 2)
        if self.config.form == "l2":
            penalty = penalty + self.config.l2_weight * step.log("l2", self.squared_weights())
        # At weight 0 nothing is drawn, so that the random numbers are the same as those of ``ae``.
        if self.config.form == "gradient_penalty" and self.config.gradient_weight > 0:
            norm = self.squared_jacobian(z, condition=step.batch.condition)
            penalty = penalty + self.config.gradient_weight * step.log("gradient", norm)
        return penalty

    def squared_weights(self) -> Tensor:
        """|theta|^2, summed over the weights of the decoder's layers; biases and scales of normalisation layers are
        vectors and are left out."""
        squares = [weight.square().sum() for weight in self.decoder.parameters() if weight.dim() > 1]
        return torch.stack(squares).sum()

    def squared_jacobian(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """An unbiased estimate of |dG/dz|_F^2 at each code of ``z`` (batch, latent): a tensor (batch,)."""
        differentiable = torch.is_grad_enabled()
        with torch.enable_grad():
            at = z if z.requires_grad else z.detach().requires_grad_()
            with running_averages(self.decoder):
                image = self.image(at, condition=condition)
            (row,) = torch.autograd.grad(image, at, random_signs(image), create_graph=differentiable)
        return row.square().sum(-1)
