"""Noise has the stated strength and is the same for every model, and gains match known values."""

import math
from statistics import NormalDist

import pytest
import torch

import variants
from benchmarks.config import EvaluationConfig
from benchmarks.evaluation.evaluate import BATCH, Context, Evaluation, EvaluationData
from benchmarks.evaluation.families import denoising
from benchmarks.evaluation.tasks.denoising import (
    NOISES,
    SMALLEST_ERROR,
    corrupted,
    gaussian,
    psnr_gain,
    salt_and_pepper,
)
from benchmarks.records.catalogue import CATALOGUE
from variants.parts.networks import MLP, Linear

GREY = torch.full((300, 3, 16, 16), 0.5)


@torch.no_grad()
def gains(variant, x, condition=None):
    """The metrics of the family for test images ``x``."""
    data = EvaluationData(x, None, x, None, {}, condition, condition)
    result = Evaluation()
    denoising.compute(Context(variant, data, EvaluationConfig(), 0), result)
    return result.metrics


class Oracle:
    """A model that returns grey images, whatever its input."""

    def reconstruct(self, x, condition):
        return torch.full_like(x, 0.5)


def identity(side):
    """A linear autoencoder that returns its input unchanged."""
    model = variants.build("ae", (1, side, side), Linear(latent_size=side * side))
    for body in (model.encoder, model.decoder):
        layer = next(module for module in body if isinstance(module, torch.nn.Linear))
        layer.weight.data.copy_(torch.eye(side * side))
        layer.bias.data.zero_()
    return model


def test_gaussian_noise_has_its_standard_deviation_before_it_is_clipped_and_a_draw_a_channel():
    noise = gaussian(GREY, 0.1) - GREY
    assert noise.std().item() == pytest.approx(0.1, rel=0.01)
    assert noise.mean().item() == pytest.approx(0, abs=0.001)
    assert torch.corrcoef(noise.transpose(0, 1).flatten(1)).fill_diagonal_(0).abs().max() < 0.02
    for std in (0.2, 0.5):
        noisy = gaussian(GREY, std)
        # Pixels of 0.5 are 0.5 / std standard deviations away from 0 and from 1.
        expected = 2 * NormalDist().cdf(-0.5 / std)
        assert ((noisy == 0) | (noisy == 1)).double().mean().item() == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_salt_and_pepper_changes_its_share_of_pixels_half_to_black_half_to_white_in_all_channels(share):
    noisy = salt_and_pepper(GREY, share)
    for value in (0, 1):
        assert (noisy == value).double().mean().item() == pytest.approx(share / 2, abs=0.005)
    assert (noisy == 0.5).double().mean().item() == pytest.approx(1 - share, abs=0.005)
    assert torch.equal(noisy[:, :1].expand_as(noisy), noisy)


def test_the_strengths_are_those_in_the_names():
    stated = {name: int(name.rpartition("_")[2]) / 100 for name in CATALOGUE if name.startswith("denoising_")}
    assert {name: strength for name, (_, strength) in NOISES.items()} == stated


@pytest.mark.parametrize("metric", NOISES)
def test_an_images_noise_is_its_own_whatever_was_drawn_before_and_however_many_there_are(metric):
    x = torch.rand(250, 1, 8, 8)
    torch.manual_seed(1)
    noisy = corrupted(x, metric)
    assert torch.equal(torch.rand(2), torch.rand(2, generator=torch.Generator().manual_seed(1)))
    torch.manual_seed(2)
    assert torch.equal(corrupted(x[:137], metric), noisy[:137])
    # The noise differs between images.
    assert len((noisy - x).flatten(1).unique(dim=0)) == 250


@pytest.mark.parametrize("metric", ["denoising_gaussian_20", "denoising_salt_pepper_30"])
def test_an_images_noise_does_not_depend_on_the_default_precision(metric):
    x = torch.rand(5, 1, 8, 8)
    expected = corrupted(x, metric)
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(corrupted(x, metric), expected)
    finally:
        torch.set_default_dtype(torch.float32)


def test_an_autoencoder_that_changes_nothing_gains_nothing():
    x = torch.rand(130, 1, 8, 8).round()
    assert set(gains(identity(8), x).values()) == {0.0}


def test_who_knows_the_image_gains_what_the_noise_cost():
    found = gains(Oracle(), GREY)
    best = -10 * math.log10(SMALLEST_ERROR)
    for metric, (noise, strength) in NOISES.items():
        if noise is salt_and_pepper:
            # A changed pixel of a grey image has a squared error of 1/4.
            changed = (corrupted(GREY, metric) != GREY).double().flatten(1).mean(1)
            assert changed.mean().item() == pytest.approx(strength, abs=0.005)
            cost = (10 * (changed / 4).log10()).mean().item()
            assert found[metric] == pytest.approx(best + cost, rel=1e-9)
    # Hardly any noise is clipped here, so the squared error is the variance of the noise.
    x = GREY[:, :, :1].expand(-1, -1, 32, -1)
    noisy = gaussian(x, 0.1)
    assert psnr_gain(x, noisy, x) == pytest.approx(best + 20 * math.log10(0.1), abs=0.02)


def test_an_image_that_the_noise_left_as_it_is_counts_half_a_grey_level_on_both_sides():
    x = torch.rand(5, 1, 8, 8)
    assert psnr_gain(x, x, x) == 0
    assert psnr_gain(x, x, x + 0.1) == pytest.approx(20 + 10 * math.log10(SMALLEST_ERROR))
    # Errors below half a grey level count as half a grey level, so nothing is gained.
    assert psnr_gain(x, x + 0.4 / 255, x) == 0
    assert psnr_gain(x, x + 1 / 255, x) == pytest.approx(20 * math.log10(2), abs=1e-3)


def test_ragged_batches_give_the_same_gains_as_one_image_at_a_time():
    x = torch.rand(BATCH + 37, 1, 4, 4).round()
    model = variants.build("vae", (1, 4, 4), MLP(latent_size=2, hidden=[8])).eval()
    found = gains(model, x)
    for metric in NOISES:
        noisy = corrupted(x, metric)
        one_by_one = [psnr_gain(a[None], b[None], model.reconstruct(b[None])) for a, b in zip(x, noisy, strict=True)]
        assert found[metric] == pytest.approx(sum(one_by_one) / len(x), abs=1e-4)


def test_only_the_first_images_are_taken(monkeypatch):
    x = torch.rand(30, 1, 4, 4).round()
    model = variants.build("vae", (1, 4, 4), MLP(latent_size=2, hidden=[8])).eval()
    monkeypatch.setattr(denoising, "IMAGES", 20)
    assert gains(model, x) == gains(model, x[:20]) != gains(model, x[10:])
