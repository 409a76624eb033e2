"""MS-SSIM as a loss, against another implementation and in cases in which it can go wrong."""

import math

import pytest
import torch
import torch.nn.functional as F
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    structural_similarity_index_measure,
)

import variants
from variants.msssim_vae import EXPONENTS, LEAST, exponents_of, gaussian_window, levels, ms_ssim, window_size

from .models import batch, binary_images, small


def pictures(count, side, channels=1):
    """Images that are smooth at several scales, and copies of them with different amounts of noise."""
    x = sum(F.interpolate(torch.rand(count, channels, n, n), size=side, mode="bilinear") for n in (4, 16, 64)) / 3
    noise = torch.linspace(0.02, 0.3, count).reshape(-1, 1, 1, 1)
    return x.double(), (x + noise * torch.randn_like(x)).clamp(0, 1).double()


def test_at_five_scales_it_is_the_multi_scale_ssim_of_torchmetrics():
    x, y = pictures(3, 192, channels=3)
    whole = multiscale_structural_similarity_index_measure(
        y, x, sigma=1.5, kernel_size=11, data_range=1.0, reduction="none"
    )
    # At the last scale, the library includes positions at which the window crosses the (reflected) border.
    assert torch.allclose(ms_ssim(x, y), whole, rtol=1e-3)
    assert whole.max() - whole.min() > 0.1
    expected, a, b = torch.ones(3).double(), x, y
    for exponent in EXPONENTS[:-1]:
        _, structure = structural_similarity_index_measure(
            b, a, sigma=1.5, data_range=1.0, return_contrast_sensitivity=True, reduction="none"
        )
        expected *= structure**exponent
        a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
    assert torch.allclose(ms_ssim(x, y), expected * inside(a, b) ** EXPONENTS[-1], rtol=1e-9)


def inside(x, y):
    """SSIM by torchmetrics of each pair of images, over positions at which the window lies inside the image."""
    _, full = structural_similarity_index_measure(y, x, sigma=1.5, data_range=1.0, return_full_image=True)
    return full[..., 5:-5, 5:-5].flatten(1).mean(1)


def test_at_one_scale_it_is_the_ssim_of_wang_et_al():
    """The window is their Gaussian of 11 pixels. A box or another standard deviation would give other numbers."""
    x, y = pictures(3, 20)
    assert levels(20) == 1
    assert torch.allclose(ms_ssim(x, y), inside(x, y), rtol=1e-9)


def test_the_window_is_a_gaussian_and_falls_off():
    window = gaussian_window(11)
    expected = torch.tensor([math.exp(-(d**2) / (2 * 1.5**2)) for d in range(-5, 6)], dtype=torch.float64)
    assert torch.allclose(window, expected / expected.sum(), rtol=1e-14)
    assert window.argmax() == 5


def test_the_coarsest_scale_counts_once():
    # Two constant images of different brightness have no structure, so every factor except the luminance is 1.
    assert levels(28) == 2
    x, y = torch.full((1, 1, 28, 28), 0.8).double(), torch.full((1, 1, 28, 28), 0.4).double()
    luminance = (2 * 0.8 * 0.4 + 1e-4) / (0.8**2 + 0.4**2 + 1e-4)
    exponent = EXPONENTS[1] / (EXPONENTS[0] + EXPONENTS[1])
    assert ms_ssim(x, y).item() == pytest.approx(luminance**exponent, rel=1e-9)


def test_an_image_is_most_similar_to_itself():
    for side in (3, 8, 11, 21, 28, 64):
        x, y = pictures(2, side)
        assert torch.allclose(ms_ssim(x, x), torch.ones(2).double(), rtol=1e-12), side
        assert (ms_ssim(x, y) < 1).all(), side


@pytest.mark.parametrize("side", [8, 28, 64])
def test_an_images_similarity_does_not_depend_on_the_batch(side):
    x, y = pictures(4, side)
    alone = torch.cat([ms_ssim(a[None], b[None]) for a, b in zip(x, y, strict=True)])
    assert torch.allclose(ms_ssim(x, y), alone, rtol=1e-12)
    assert alone.std() > 1e-3


@pytest.mark.parametrize("side", [8, 28, 64])
def test_an_image_and_its_negative_have_a_finite_loss_and_gradient(side):
    x = binary_images(3, (1, side, side), torch.float64)
    y = (1 - x).requires_grad_()
    similarity = ms_ssim(x, y)
    assert similarity.isfinite().all()
    # The structure term of an image and its negative is negative at all scales.
    assert torch.allclose(similarity, torch.tensor(LEAST).double(), rtol=1e-6)
    similarity.sum().backward()
    assert y.grad.isfinite().all()


@pytest.mark.parametrize(
    ("side", "expected"), [(3, 1), (11, 1), (20, 1), (21, 2), (28, 2), (40, 2), (41, 3), (64, 3), (161, 5), (2000, 5)]
)
def test_as_many_scales_as_the_image_allows(side, expected):
    assert levels(side) == expected
    assert (window_size(side) - 1) * 2 ** (expected - 1) < side
    x = torch.rand(1, 1, side, side) if side < 200 else torch.rand(1, 1, 200, 200)
    assert ms_ssim(x, x).isfinite().all()


def test_exponents_of_fewer_scales_are_renormalised():
    assert exponents_of(5) == list(EXPONENTS)
    for count in range(1, 5):
        assert sum(exponents_of(count)) == pytest.approx(1, rel=1e-12)
    assert exponents_of(3)[1] / exponents_of(3)[0] == pytest.approx(EXPONENTS[1] / EXPONENTS[0], rel=1e-12)


def test_small_images_have_the_largest_odd_window_that_fits():
    assert [window_size(side) for side in (3, 4, 8, 9, 11, 28)] == [3, 3, 7, 9, 11, 11]


def test_gradients_agree_with_finite_differences():
    x, y = pictures(2, 22)
    assert torch.autograd.gradcheck(lambda z: ms_ssim(x, z), y[..., :22, :22].requires_grad_(), fast_mode=True)


def test_the_loss_is_the_weighted_dissimilarity_and_the_kl():
    x = binary_images(4, (1, 8, 8), torch.float64)
    model = small("msssim_vae", (1, 8, 8), torch.float64, weight=3.0)
    torch.manual_seed(1)
    loss, terms = model.loss(batch(x), torch.tensor(0.5))
    torch.manual_seed(1)
    z = model.posterior(x).rsample((1,))
    dissimilarity = 1 - ms_ssim(x, model.likelihood(z).mean[0])
    assert torch.allclose(terms["reconstruction"], 3 * 64 * dissimilarity, rtol=1e-12)
    assert loss.item() == pytest.approx((3 * 64 * dissimilarity + terms["kl"]).mean().item(), rel=1e-12)


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match=r"variant\.weight must be above 0, got 0"):
        variants.lookup("msssim_vae").Config(weight=0)
    with pytest.raises(ValueError, match="needs images of 3 pixels a side or more, got 2"):
        small("msssim_vae", (1, 2, 2))


def test_autocast_does_not_round_the_similarity_of_nearly_constant_images():
    torch.manual_seed(0)
    x = (0.9 + 0.02 * torch.randn(4, 1, 28, 28)).clamp(0, 1)
    y = (0.9 + 0.02 * torch.randn(4, 1, 28, 28)).clamp(0, 1)
    expected = ms_ssim(x.double(), y.double())
    with torch.autocast("cpu", torch.bfloat16):
        found, of_bfloat16 = ms_ssim(x, y), ms_ssim(x, y.bfloat16())
    assert torch.allclose(found.double(), expected, atol=1e-4)
    assert of_bfloat16.dtype == torch.float32
