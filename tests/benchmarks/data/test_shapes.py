"""Images that the suite draws, and dSprites, which is read from a file under the same name."""

import hashlib
import logging
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.config import compose
from benchmarks.data import load
from benchmarks.data.readers import shapes
from benchmarks.errors import UserError


def config_of(*overrides):
    return compose("vae", "shapes", "smoke", 0, overrides).dataset


@pytest.fixture(scope="module")
def drawn():
    """All images of 32 pixels, (n, 32, 32) in {0, 1}, and their factors."""
    bits = np.unpackbits(shapes.draw(32), axis=1).reshape(-1, 32, 32)
    return bits, shapes.factors_of_images().numpy()


@pytest.mark.parametrize("side", [32, 64])
def test_the_images_are_the_same_to_the_bit(side):
    assert hashlib.sha256(shapes.draw(side).tobytes()).hexdigest() == shapes.SHA256[side]


def test_sines_and_cosines_are_rounded_far_from_a_tie():
    """Their last digits differ between mathematical libraries, but do not change the rounded integers."""
    for turn in range(shapes.TURNS):
        angle = 2 * math.pi * turn / shapes.TURNS
        for value in (math.cos(angle), math.sin(angle)):
            assert abs(shapes.UNIT * value % 1 - 0.5) > 1e-3
        cos, sin = shapes.turned(turn)
        assert math.isclose(math.hypot(cos, sin), shapes.UNIT, rel_tol=1e-3)


def test_every_combination_of_factors_is_there_once_and_no_two_images_are_equal(drawn):
    images, factors = drawn
    assert len(images) == shapes.COUNT == 44_100
    assert len(set(np.ravel_multi_index(tuple(factors.T), shapes.SIZES))) == len(factors)
    assert factors.max(0).tolist() == [size - 1 for size in shapes.SIZES]
    assert [factor.size for factor in shapes.FACTORS] == list(shapes.SIZES)
    assert len({image.tobytes() for image in images}) == len(images)


def at(factors, **values):
    """The rows in which some factors have these values."""
    names = [factor.name for factor in shapes.FACTORS]
    kept = np.ones(len(factors), bool)
    for name, value in values.items():
        kept &= factors[:, names.index(name)] == value
    return np.flatnonzero(kept)


def test_shapes_have_the_areas_and_places_that_their_factors_say(drawn):
    images, factors = drawn
    unit = {0: 2.0, 1: math.pi / 2, 2: 3.66197 * 0.8**2}  # over the circle's squared radius; the heart's by quadrature
    for shape, area in unit.items():
        for scale, radius in enumerate(shapes.RADII):
            rows = at(factors, shape=shape, scale=scale)
            assert images[rows].sum((1, 2)).mean() == pytest.approx(area * radius**2, rel=0.01)
    # The centre of an ellipse is at its position, whatever its orientation; y points down.
    rows = at(factors, shape=1)
    centres, mass = np.arange(32) + 0.5, images[rows].sum((1, 2))
    x, y = images[rows].sum(1) @ centres / mass, images[rows].sum(2) @ centres / mass
    assert np.abs(x - (9.5 + 1 / 8 + factors[rows, 3])).max() < 0.25
    assert np.abs(y - (9.5 + 1 / 4 + factors[rows, 4])).max() < 0.25


def test_a_turn_is_counter_clockwise_and_the_heart_stands_on_its_tip(drawn):
    images, factors = drawn
    middle = {"x": 7, "y": 7, "scale": 4}
    (upright,) = images[at(factors, shape=2, orientation=0, **middle)]
    rows = np.flatnonzero(upright.any(1))
    # The tip is at the bottom and the two lobes are at the top.
    assert upright[rows[-1]].sum() <= 2 < upright[rows[0]].sum()
    assert (np.diff(upright[rows[0]].astype(int)) == 1).sum() == 2
    (turned,) = images[at(factors, shape=1, orientation=1, **middle)]
    ys, xs = np.nonzero(turned)
    # The ellipse runs from bottom left to top right; y points down.
    assert np.cov(xs, -ys)[0, 1] > 0


def test_pixels_agree_with_the_formula_in_rational_arithmetic(drawn):
    images, factors = drawn
    rng = np.random.default_rng(0)
    for row in rng.choice(at(factors, shape=2), 20, replace=False):
        _, scale, turn, x, y = factors[row].tolist()
        cos, sin = (Fraction(value, shapes.UNIT) for value in shapes.turned(turn))
        R = Fraction(shapes.RADII[scale])
        h = R * Fraction(4, 5)
        for i, j in rng.integers(0, 32, (40, 2)).tolist():
            right = j + Fraction(1, 2) - (Fraction(19, 2) + x + Fraction(1, 8))
            up = -(i + Fraction(1, 2) - (Fraction(19, 2) + y + Fraction(1, 4)))
            u, w = cos * right + sin * up, cos * up - sin * right + h / 4
            assert images[row, i, j] == ((u**2 + w**2 - h**2) ** 3 <= u**2 * w**3 * h)


def test_64_pixels_are_twice_as_fine_and_cover_as_much(drawn):
    images, _ = drawn
    fine = np.unpackbits(shapes.draw(64)[::97], axis=1).reshape(-1, 64, 64)
    coarse = fine.reshape(-1, 32, 2, 32, 2).mean((2, 4))
    # Only pixels on an edge differ from the mean of their four fine pixels.
    assert np.abs(coarse - images[::97]).mean() < 0.02


def test_the_splits_are_fixed_disjoint_and_have_factors_and_classes(tmp_path):
    data = load(config_of(), tmp_path)
    assert [len(split) for split in (data.train, data.validation, data.test)] == [35_280, 2_205, 6_615]
    assert data.shape == (1, 32, 32)
    assert data.classes == 3
    assert data.title == "Shapes drawn by the suite, binary, 32x32"
    assert [factor.name for factor in data.factors] == ["shape", "scale", "orientation", "x", "y"]
    assert [factor.is_ordered for factor in data.factors] == [False, True, True, True, True]
    everything = torch.cat([split.factors for split in (data.train, data.validation, data.test)])
    assert everything.shape == (shapes.COUNT, 5)
    assert len(set(np.ravel_multi_index(tuple(everything.numpy().T), shapes.SIZES))) == shapes.COUNT
    for split in (data.train, data.validation, data.test):
        assert torch.equal(split.labels, split.factors[:, 0])
        assert set(split.images.unique().tolist()) == {0, 255}
    # The image of a row matches the factors of the row.
    bits = np.unpackbits(shapes.draw(32), axis=1).reshape(-1, 32, 32)
    row = np.ravel_multi_index(tuple(data.test.factors[5].tolist()), shapes.SIZES)
    assert np.array_equal(data.test.images[5, 0].numpy(), bits[row] * 255)
    assert torch.equal(load(config_of(), tmp_path).test.factors, data.test.factors)


def test_bits_are_kept_in_the_cache_and_drawn_again_where_they_are_damaged(tmp_path, monkeypatch, caplog):
    first = load(config_of(), tmp_path)
    (kept,) = (tmp_path / "cache").rglob("shapes-32.bits")
    assert kept.stat().st_size == shapes.COUNT * 32 * 32 // 8
    with monkeypatch.context() as patch:
        patch.setattr(shapes, "draw", lambda side: pytest.fail("drawn again"))
        load(config_of(), tmp_path)
    kept.write_bytes(b"\0" * 100)
    with caplog.at_level(logging.WARNING):
        assert torch.equal(load(config_of(), tmp_path).train.images, first.train.images)
    assert "damaged" in caplog.text
    assert kept.stat().st_size > 100


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (["dataset.image_size=48"], r"dataset\.image_size must be 32 or 64 with source 'shapes', got 48"),
        (["dataset.image_size=null"], r"must be 32 or 64 with source 'shapes', got None"),
        (["dataset.path=dsprites.npz"], r"dSprites, .*: set dataset\.image_size=64, got 32"),
        (["dataset.left_out=3"], "its classes are 0 to 2"),
        (["dataset.crop=100"], "no effect with source 'shapes'"),
    ],
)
def test_what_the_images_cannot_be_is_refused(override, message):
    with pytest.raises(UserError, match=message):
        config_of(*override)


def dsprites(path, **other):
    """Write a file of 72 images in the layout of dSprites."""
    sizes = (1, 3, 2, 3, 2, 2)
    which = np.indices(sizes).reshape(6, -1).T
    values = which * np.array([1.0, 1.0, 0.5, 2.0, 1.0, 1.0]) + np.array([1.0, 1.0, 0.5, 0.0, 0.0, 0.0])
    images = np.zeros((len(which), 64, 64), np.uint8)
    images.reshape(len(which), -1)[np.arange(len(which)), np.arange(len(which))] = 1
    arrays = {"imgs": images, "latents_classes": which, "latents_values": values} | other
    np.savez_compressed(path, **{name: array for name, array in arrays.items() if array is not None})
    return arrays


DSPRITES = ("dataset.path=dsprites.npz", "dataset.image_size=64")


def test_dsprites_loads_by_the_same_name_with_its_own_factors(tmp_path):
    arrays = dsprites(tmp_path / "dsprites.npz")
    data = load(config_of(*DSPRITES), tmp_path)
    assert data.title == "dSprites, binary, 64x64"
    assert [len(split) for split in (data.train, data.validation, data.test)] == [57, 4, 11]
    assert [(factor.name, factor.size) for factor in data.factors] == [
        ("shape", 3), ("scale", 2), ("orientation", 3), ("x", 2), ("y", 2),
    ]  # fmt: skip
    assert data.factors[0].values == ("square", "ellipse", "heart")
    assert data.factors[2].values == (0.0, 2.0, 4.0)
    for image, factors, label in zip(data.test.images, data.test.factors, data.test.labels, strict=True):
        # The only white pixel of an image identifies it.
        row = int(image.flatten().argmax())
        assert image.sum() == 255
        assert factors.tolist() == arrays["latents_classes"][row, 1:].tolist()
        assert label == factors[0]
    assert data.sha256 != load(config_of("dataset.image_size=64"), tmp_path).sha256


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"imgs": None}, "it has no array 'imgs'"),
        (
            {"imgs": np.zeros((72, 8, 8), np.uint8)},
            r"must be 72 images of 64x64 pixels 0 and 1, got uint8",
        ),
        ({"imgs": np.full((72, 64, 64), 255, np.uint8)}, "pixels 0 and 1"),
        ({"latents_values": np.zeros((72, 5))}, "must have 6 columns"),
        ({"latents_classes": np.zeros((72, 6))}, "of whole numbers"),
        ({"latents_classes": np.full((72, 6), 7)}, "must be numbered 0, 1, 2"),
    ],
)
def test_a_file_that_is_not_dsprites_is_refused_in_one_line(tmp_path, other, message):
    dsprites(tmp_path / "dsprites.npz", **other)
    with pytest.raises(UserError, match=message) as raised:
        load(config_of(*DSPRITES), tmp_path)
    assert "\n" not in str(raised.value)


def test_their_documentation_says_that_they_are_not_dsprites():
    document = (Path(__file__).resolve().parents[3] / "DATA.md").read_text()
    assert "results cannot be compared with published ones on dSprites" in " ".join(document.split())
