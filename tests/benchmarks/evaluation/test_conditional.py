"""Conditional models: the likelihood by draws of the prior, and pictures that show only permitted pixels."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.config import EvaluationConfig
from benchmarks.data import observe_condition
from benchmarks.evaluation import latent_pictures, pictures
from benchmarks.evaluation.evaluate import EvaluationData, evaluate
from benchmarks.evaluation.likelihood import log_likelihood_by_prior, log_likelihood_of
from benchmarks.sweep.cell import build
from benchmarks.training.calibration import fit_observation
from variants import Variant
from variants.parts.distributions import DiagonalNormal

from ...variants.models import small
from ..cells import configuration

SHAPE = (1, 8, 8)


def completing(condition="quadrants-2", observation=()):
    """A model, images and their condition."""
    config = configuration("cvae", 0, f"dataset.condition={condition}", *observation)
    shape = (10,) if condition == "label" else (2, 8, 8)
    x = (torch.rand(40, *SHAPE, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    return build(config, SHAPE, shape), x, observe_condition(x, torch.arange(40) % 10, config.dataset, shape)


def test_the_likelihood_by_the_prior_is_the_mean_likelihood_of_its_draws():
    """Seven draws decoded at once agree with the formula, and 3,000 draws agree with the same estimate in parts."""
    model, x, condition = completing()
    model.eval()
    torch.manual_seed(5)
    found = log_likelihood_by_prior(model, x, 7, 10_000, condition)
    torch.manual_seed(5)
    z = model.prior(condition).sample((7,))
    by_hand = model.likelihood(z, condition).log_prob(x).double().exp().mean(0).log()
    assert torch.allclose(found, by_hand, rtol=1e-6)
    for decodes in (1, 3, 50, 100):
        again = log_likelihood_by_prior(model, x, 3_000, decodes * 60, condition)
        assert again.shape == (40,)
        assert torch.allclose(again, log_likelihood_by_prior(model, x, 3_000, 10**6, condition), atol=0.3)


def test_both_estimates_agree_on_a_model_whose_posterior_is_its_prior():
    model, x, condition = completing()
    with torch.no_grad():
        for head in (model.prior_head, model.posterior_head):
            head[-1].weight.zero_()
            head[-1].bias.zero_()
    by_prior = log_likelihood_by_prior(model, x, 3_000, 10**6, condition)
    assert torch.allclose(by_prior, log_likelihood_of(model, x, 3_000, condition=condition), atol=0.2)


class TwoLevels(Variant):
    """p(z2) p(z1|z2, c) p(x|z1): z2 is near 0 and z1 near the class c. The decoder must not get z2."""

    conditional = True

    def prior(self, condition):
        return DiagonalNormal(torch.zeros(3), torch.full((3,), -20.0))

    def sample_latent(self, count, condition):
        z2 = self.prior(condition).sample((count,))
        return z2 + condition.argmax(1, keepdim=True)

    def decode(self, z, condition):
        return (z.mean(-1) - 1)[..., None, None, None].expand(*z.shape[:-1], *self.image_shape)


@pytest.mark.parametrize("decodes", [1, 4, 10_000])
def test_the_likelihood_by_the_prior_decodes_draws_of_the_lowest_level(decodes):
    model, classes = small(TwoLevels), torch.arange(7) % 3
    x = (torch.rand(7, 1, 4, 4) < 0.5).float()
    found = log_likelihood_by_prior(model, x, 5, decodes, torch.nn.functional.one_hot(classes, 3).float())
    p = torch.sigmoid(classes - 1.0)[:, None, None, None]
    expected = (x * p.log() + (1 - x) * (1 - p).log()).flatten(1).sum(1).double()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


OPTIONS = EvaluationConfig(importance_samples=20, generated_images=40, inception=False, probe_images=40)


@pytest.mark.parametrize(("condition", "scored"), [("label", 64), ("quadrants-1", 48), ("quadrants-3", 16)])
def test_bits_per_dimension_are_those_of_the_predicted_pixels(condition, scored):
    grey = ("dataset.observation=discretised_logistic", "dataset.binarise=none")
    model, x, given = completing(condition, grey)
    labels = torch.arange(40) % 10
    data = EvaluationData(x, labels, x, labels, {"features": "none here"}, given, given)
    metrics = evaluate(model, data, OPTIONS, seed=0).metrics
    for name in ("elbo", "log_likelihood", "log_likelihood_by_prior"):
        nats, bits = metrics[name], metrics[f"{name}_bits_per_dim"]
        assert bits == pytest.approx(-nats / (scored * math.log(2)), rel=1e-9), name


def test_only_conditional_models_have_a_likelihood_by_the_prior():
    variant = build(configuration(), SHAPE)
    x = torch.zeros(10, *SHAPE)
    data = EvaluationData(x, None, x, None, {"features": "none here"})
    result = evaluate(variant, data, OPTIONS, seed=0)
    assert result.not_applicable["log_likelihood_by_prior"] == "the model is given no condition"


def tiles(path):
    """The 8x8 images of a sheet, (lines, columns, 8, 8)."""
    with Image.open(path) as image:
        sheet = np.asarray(image)
    rows, columns = (size // 9 for size in sheet.shape)
    return sheet[1:, 1:][: 9 * rows, : 9 * columns].reshape(rows, 9, columns, 9)[:, :8, :, :8].transpose(0, 2, 1, 3)


def test_samples_by_class_have_a_line_a_class(tmp_path):
    model, x, condition = completing("label")
    pictures.write(tmp_path, model, x, show_originals=True, condition=condition)
    assert tiles(tmp_path / "samples.png").shape == (10, 8, 8, 8)


@torch.no_grad()
def test_completions_stand_beside_what_is_given(tmp_path):
    model, x, condition = completing()
    pictures.write(tmp_path, model, x, show_originals=True, condition=condition)
    found = tiles(tmp_path / "samples.png")
    given = (x[:8, 0].numpy() * 255).astype(np.uint8)
    assert (found[:, :, :, :4] == given[:, None, :, :4]).all()
    assert (found[:, 0, :, 4:] == 128).all()
    assert len(np.unique(found[0, 1:, :, 4:].reshape(7, -1), axis=0)) == 7


@pytest.mark.parametrize("condition", ["quadrants-1", "quadrants-2", "quadrants-3"])
def test_where_originals_may_not_be_shown_no_given_pixel_is(tmp_path, condition):
    model, x, given = completing(condition)
    pictures.write(tmp_path, model, x, show_originals=False, condition=given)
    latent_pictures.write(tmp_path, model, x, None, given, show_originals=False)
    mask = given[0, 1].numpy() > 0.5
    for name in ("samples", "plane", "traversals", "interpolations"):
        found = tiles(tmp_path / f"{name}.png")
        assert (found[..., mask] == 255).all(), name
        assert (found[..., ~mask] != 255).any(), name


@pytest.mark.parametrize(("condition", "share"), [("quadrants-1", 0.75), ("quadrants-2", 0.5), ("quadrants-3", 0.25)])
def test_squared_errors_are_those_of_the_predicted_pixels(condition, share):
    """Given pixels have no error: a mean over all pixels is ``share`` times the mean over predicted pixels."""
    model, x, given = completing(condition)
    metrics = evaluate(model, EvaluationData(x, None, x[:0], None, {}, given), OPTIONS, seed=0).metrics
    errors = (model.reconstruct(x, given) - x).double().square()
    assert metrics["mse"] == pytest.approx(errors.mean().item() / share, rel=1e-6)
    by_image = errors.flatten(1).sum(1) / (64 * share)
    assert metrics["psnr"] == pytest.approx((-10 * by_image.log10()).mean().item(), rel=1e-6)


@pytest.mark.parametrize("condition", ["quadrants-1", "quadrants-3"])
def test_a_scale_is_fitted_on_the_predicted_pixels_alone(condition):
    grey = ("dataset.observation=gaussian", "dataset.binarise=none", "dataset.loss=squared_error")
    model, x, given = completing(condition, grey)
    hidden = (given[:, 1:] < 0.5).float()

    def fitted(error_of_given):
        """The fitted scale for outputs that are off by 0.1 at predicted pixels, and by ``error_of_given`` at others."""
        off = torch.logit(x * 0.8 + 0.1 + hidden * 0.1 * (0.5 - x).sign() + (1 - hidden) * error_of_given, eps=1e-4)
        model.decode = lambda z, condition=None: off[: len(z)]
        fit_observation(model, x * 0.8 + 0.1, given)
        (log_scale,) = model.observation.parameters()
        return log_scale.exp().item()

    assert fitted(0.0) == pytest.approx(0.1, rel=0.01)
    assert fitted(0.05) == pytest.approx(0.1, rel=0.01)
