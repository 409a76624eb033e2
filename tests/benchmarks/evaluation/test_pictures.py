"""Sheets of images, and lines and planes through a known latent space."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.data import Factor, Factors
from benchmarks.evaluation import latent_pictures, pictures
from benchmarks.evaluation.latent_pictures import (
    interpolations,
    most_informed,
    most_varied,
    plane_points,
    principal_plane,
    traversals,
)
from benchmarks.evaluation.tasks.denoising import NOISES, corrupted
from benchmarks.sweep.cell import build

from ..cells import configuration


@pytest.fixture
def images():
    return (torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0)) > 0.5).float()


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def test_originals_are_shown_over_their_reconstructions_and_neither_where_they_may_not_be(tmp_path, images):
    variant = build(configuration(), (1, 8, 8))
    pictures.write(tmp_path, variant, images.repeat(2, 1, 1, 1), True)
    sheet = pixels(tmp_path / "reconstructions.png")
    assert sheet.shape == (73, 73)
    assert (sheet[1:9, 1:9] == images[0, 0].mul(255).to(torch.uint8).numpy()).all()
    reconstruction = variant.reconstruct(images[:1])[0, 0].mul(255).round().to(torch.uint8).numpy()
    assert (sheet[10:18, 1:9] == reconstruction).all()
    # A last row that is not full is left out, and a single one may be shorter.
    for count, shape in ((20, (37, 73)), (3, (19, 28))):
        pictures.write(tmp_path, variant, images[:count], True)
        sheet = pixels(tmp_path / "reconstructions.png")
        assert sheet.shape == shape
        assert (sheet[10:18, 1:9] == reconstruction).all()
    pictures.write(tmp_path, variant, images, False)
    assert [path.name for path in tmp_path.iterdir()] == ["samples.png"]


@pytest.mark.parametrize(("variant", "walks"), [("vae", True), ("iaf_vae", True), ("ae", False)])
def test_no_test_image_is_decoded_where_originals_may_not_be_shown(tmp_path, images, variant, walks, monkeypatch):
    model = build(configuration(variant), (1, 8, 8))
    codes = model.code(model.posterior(images))
    decoded = []
    likelihood = model.likelihood

    def noted(z, condition=None):
        decoded.append(z)
        return likelihood(z, condition=condition)

    for shown in (True, False):
        decoded.clear()
        monkeypatch.setattr(model, "likelihood", noted)
        latent_pictures.write(tmp_path, model, images, None, show_originals=shown)
        assert (torch.cdist(torch.cat(decoded), codes).min() < 1e-4) == shown
        assert (tmp_path / "interpolations.png").exists() == (shown or walks)


def test_noise_is_shown_over_what_is_left_of_it_and_no_image_where_none_may_be(tmp_path, images):
    variant = build(configuration(), (1, 8, 8))
    noisy = [images[:6], *(corrupted(images[:6], noise) for noise in NOISES)]
    left = [variant.reconstruct(x) for x in noisy]

    def lines(sheet):
        """The rows of images on a sheet, without the white lines between them."""
        assert sheet.shape[1] == 6 * 9 + 1
        rows = sheet[1:].reshape(-1, 9, 55)[:, :8, 1:].reshape(-1, 8, 6, 9)[..., :8]
        return [torch.from_numpy(row.copy()).permute(1, 0, 2) for row in rows]

    def as_shown(x):
        return x[:, 0].mul(255).round().to(torch.uint8)

    pictures.write_denoised(tmp_path, variant, images, True)
    expected = [noisy[0], *(line for pair in zip(noisy[1:], left[1:], strict=True) for line in pair)]
    found = lines(pixels(tmp_path / "denoised.png"))
    assert len(found) == len(expected)
    assert all(torch.equal(a, as_shown(b)) for a, b in zip(found, expected, strict=True))
    pictures.write_denoised(tmp_path, variant, images, False)
    assert list(tmp_path.iterdir()) == []


def test_a_conditional_model_has_no_denoised_images(tmp_path, images):
    variant = build(configuration("cvae", 0, "dataset.condition=label"), (1, 8, 8), (10,))
    pictures.write_denoised(tmp_path, variant, images, True)
    assert list(tmp_path.iterdir()) == []


def test_images_of_any_size_fit_on_a_sheet():
    assert [pictures.columns_for(torch.zeros(1, 1, side, side)) for side in (8, 28, 64, 1000)] == [8, 8, 6, 2]


def test_the_principal_plane_finds_the_axes_along_which_codes_were_spread():
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(5, 5, generator=generator))[0].T
    scales = torch.tensor([3.0, 2.0, 0.1, 0.1, 0.1])
    codes = torch.randn(20_000, 5, generator=generator) * scales @ basis + 7
    plane = principal_plane(codes)
    assert (plane.axes @ basis[:2].T).abs().diagonal().allclose(torch.ones(2), atol=1e-3)
    assert plane.spread.allclose(scales[:2], rtol=0.02)
    assert plane.coordinates(codes).mean(0).allclose(torch.zeros(2), atol=1e-3)
    # Codes of the opposite sign have the same axes.
    assert principal_plane(-codes).axes.allclose(plane.axes, atol=1e-5)


@pytest.mark.parametrize("size", [1, 2])
def test_a_latent_space_of_one_or_two_dimensions_is_its_own_plane(size):
    codes = torch.randn(50, size, generator=torch.Generator().manual_seed(0))
    plane = principal_plane(codes)
    assert torch.equal(plane.axes, torch.eye(2, size))
    assert plane.coordinates(codes)[:, :size].allclose(codes - codes.mean(0))


def test_a_plane_runs_from_left_to_right_and_from_bottom_to_top():
    plane = principal_plane(torch.tensor([[-1.0, -2.0], [1.0, 2.0], [-1.0, 2.0], [1.0, -2.0]]))
    points = plane_points(plane, torch.tensor([-1.0, 0.0, 1.0])).reshape(3, 3, 2)
    assert points[0, 0].tolist() == [-1, 2]
    assert points[2, 2].tolist() == [1, -2]
    assert points[1, 1].tolist() == [0, 0]


def test_a_traversal_changes_one_dimension_the_one_that_varies_most_first():
    codes = torch.tensor([[0.5, 1.0, 5.0], [0.5, -1.0, -5.0]])
    lines = traversals(codes, torch.tensor([-1.0, 0.0, 1.0]), codes[0], most_varied(codes)).reshape(3, 3, 3)
    assert lines[0].tolist() == [[0.5, 1, -5], [0.5, 1, 0], [0.5, 1, 5]]
    assert lines[1].tolist() == [[0.5, -1, 5], [0.5, 0, 5], [0.5, 1, 5]]


def test_lines_along_factors_begin_with_the_dimension_that_knows_most_of_one():
    values = torch.cartesian_prod(torch.arange(4), torch.arange(5)).repeat(10, 1)
    factors = Factors((Factor("x", tuple(map(float, range(4)))), Factor("y", tuple(map(float, range(5))))), values)
    # The dimensions: noise with the largest variance, part of the information on x, and all of y.
    codes = torch.stack([9 * torch.randn(200), (values[:, 0] // 2).float(), values[:, 1].float()], 1)
    found = most_informed(codes, factors)
    assert [(line.dimension, line.factor) for line in found[:2]] == [(2, "y"), (1, "x")]
    assert found[0].share == pytest.approx(1)
    assert found[1].share == pytest.approx(0.5)
    assert found[2].share < 0.4


def test_lines_along_factors_are_drawn_where_the_factors_of_all_images_are_known(tmp_path, images):
    values = (torch.arange(40) % 3)[:, None]
    factors = Factors((Factor('a "size", in mm', (1.0, 2.0, 3.0)),), values)
    model = build(configuration("joint_vae"), (1, 8, 8))
    latent_pictures.write(tmp_path, model, images, None, factors=factors)
    rows = list(csv.DictReader((tmp_path / "factor_lines.csv").read_text().splitlines()))
    assert {row["factor"] for row in rows} == {'a "size", in mm'}
    shares = [float(row["share"]) for row in rows]
    assert shares == sorted(shares, reverse=True)
    assert len(rows) == len({row["dimension"] for row in rows}) == 8
    # The sheet has one line for each row of the table.
    assert pixels(tmp_path / "factor_lines.png").shape[0] == 8 * (8 + 1) + 1


def test_an_interpolation_ends_at_both_codes():
    ends = torch.tensor([[0.0, 0.0], [2.0, 4.0], [1.0, 1.0], [1.0, 3.0]])
    lines = interpolations(ends, 3).reshape(2, 3, 2)
    assert lines.tolist() == [[[0, 0], [1, 2], [2, 4]], [[1, 1], [1, 2], [1, 3]]]


@pytest.mark.parametrize("variant", ["vae", "joint_vae", "iaf_vae", "wae_mmd"])
def test_latent_pictures_of_a_continuous_latent_space(tmp_path, images, variant):
    labels = torch.arange(40) % 3
    latent_pictures.write(tmp_path, build(configuration(variant), (1, 8, 8)), images, labels)
    assert {path.name for path in tmp_path.iterdir()} == {
        "codes.csv", "plane.png", "traversals.png", "interpolations.png"
    }  # fmt: skip
    rows = list(csv.DictReader((tmp_path / "codes.csv").read_text().splitlines()))
    assert [row["class"] for row in rows] == [str(label) for label in labels.tolist()]
    assert np.isfinite([[float(row["axis_1"]), float(row["axis_2"])] for row in rows]).all()
    # No sheet shows an image of the data set: the first interpolation starts with a decoded image.
    assert not (pixels(tmp_path / "interpolations.png")[1:9, 1:9] == images[0, 0].mul(255).numpy()).all()


@pytest.mark.parametrize("variant", ["vq_vae", "gumbel_vae"])
def test_a_discrete_latent_space_has_no_lines_to_walk_on(tmp_path, images, variant):
    latent_pictures.write(tmp_path, build(configuration(variant), (1, 8, 8)), images, None)
    assert list(tmp_path.iterdir()) == []
