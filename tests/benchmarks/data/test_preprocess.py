"""From bytes to observed pixels."""

import subprocess
import sys

import pytest
import torch

from benchmarks.data import DatasetConfig, observe_evaluation, observe_training, training_images

BINARY = DatasetConfig(observation="bernoulli", binarise="dynamic")
FIXED = DatasetConfig(observation="bernoulli", binarise="fixed")
THRESHOLD = DatasetConfig(observation="bernoulli", binarise="threshold")
GREY = DatasetConfig(observation="discretised_logistic", binarise="none")


def ramp(n=32):
    return torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).expand(n, 1, 16, 16).contiguous()


def test_training_pixels_are_drawn_anew_with_probability_byte_over_255():
    torch.manual_seed(0)
    first, second = observe_training(ramp(4000), BINARY), observe_training(ramp(4000), BINARY)
    assert not torch.equal(first, second)
    assert set(first.unique().tolist()) == {0.0, 1.0}
    probability = ramp(1)[0].double() / 255
    # The tolerance is five standard errors of a mean of 4,000 draws.
    assert (first.double().mean(0) - probability).abs().max() < 5 * 0.5 / 4000**0.5
    assert (first[:, 0, 0, 0] == 0).all()
    assert (first[:, 0, 15, 15] == 1).all()


def test_grey_pixels_are_byte_over_255():
    assert torch.equal(observe_training(ramp(1), GREY), ramp(1).float() / 255)
    assert torch.equal(observe_evaluation(ramp(1), GREY), ramp(1).float() / 255)


def test_evaluation_pixels_are_drawn_with_probability_byte_over_255_from_one_known_seed():
    drawn = observe_evaluation(ramp(4000), BINARY)
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    # The tolerance is five standard errors of a mean of 4,000 draws.
    assert (drawn.double().mean(0) - ramp(1)[0].double() / 255).abs().max() < 5 * 0.5 / 4000**0.5
    # Published numbers are of this draw. torch's generator gives the same on every machine.
    half = observe_evaluation(torch.full((1, 1, 4, 8), 128, dtype=torch.uint8), BINARY)
    assert "".join(str(int(pixel)) for pixel in half.flatten()) == "01011001111101101101110111011110"


def test_the_evaluation_draw_is_fixed_whatever_the_seed_and_leaves_torchs_stream_alone():
    torch.manual_seed(1)
    first = observe_evaluation(ramp(), BINARY)
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(after, torch.rand(1))
    assert torch.equal(observe_evaluation(ramp(), BINARY), first)


def test_the_evaluation_draw_is_the_same_in_another_process():
    program = """
import hashlib, torch
from benchmarks.data import DatasetConfig, observe_evaluation
images = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).expand(32, 1, 16, 16)
drawn = observe_evaluation(images, DatasetConfig(observation="bernoulli", binarise="dynamic"))
print("".join(str(int(value)) for value in drawn.flatten()))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    here = "".join(str(int(value)) for value in observe_evaluation(ramp(), BINARY).flatten())
    assert done.stdout.strip() == here


def test_a_fixed_draw_of_training_images_is_one_draw_and_trains_as_it_is():
    given = training_images(ramp(), FIXED)
    assert given.dtype == torch.uint8
    assert torch.equal(observe_training(given, FIXED), observe_evaluation(ramp(), BINARY))
    assert torch.equal(observe_training(given, FIXED), observe_training(given, FIXED))
    assert not torch.equal(given[0], given[1])


def test_a_threshold_is_at_half_the_range_for_training_and_evaluation_alike():
    expected = torch.arange(256).reshape(1, 1, 16, 16).ge(128).float()
    assert torch.equal(observe_training(training_images(ramp(1), THRESHOLD), THRESHOLD), expected)
    assert torch.equal(observe_evaluation(ramp(1), THRESHOLD), expected)


@pytest.mark.parametrize("config", [BINARY, GREY])
def test_images_that_are_binarised_anew_or_never_reach_the_loop_unchanged(config):
    assert training_images(ramp(), config).equal(ramp())


@pytest.mark.parametrize("config", [BINARY, FIXED, THRESHOLD, GREY])
def test_an_image_looks_the_same_however_many_are_asked_for(config):
    assert torch.equal(observe_evaluation(ramp(), config, 5), observe_evaluation(ramp(), config)[:5])
