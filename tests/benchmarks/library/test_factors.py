"""Factors of variation in Python: of data sets, of a user's own images, and scores of codes against them."""

import numpy as np
import pytest
import torch

from benchmarks import disentanglement, evaluate, load_factors, load_images, represent
from benchmarks.errors import UserError
from benchmarks.library.factors import known_factors


def test_factors_are_in_the_order_of_the_images():
    images, labels = load_images("shapes", "validation")
    found = load_factors("shapes", "validation")
    assert len(found) == len(images)
    assert torch.equal(found.values[:, 0], labels)
    # The horizontal centre of the white pixels moves with x, the fourth factor.
    right = (images[:, 0].double().sum(1) * torch.arange(32)).sum(1) / images.double().sum((1, 2, 3))
    assert torch.corrcoef(torch.stack([right, found.values[:, 3].double()]))[0, 1] > 0.98


def test_scores_of_any_codes_in_one_call():
    values = np.random.default_rng(0).integers(0, 4, (400, 2))
    found = disentanglement(values.astype(float), values, splits=2)
    assert found.means["mig"] > 0.97
    assert found.factors == ("factor 1", "factor 2")
    assert found.images == 200


def test_evaluate_takes_the_factors_of_the_images(run, images, labels):
    found = evaluate(run, images, factors=labels, importance_samples=2, generated_images=2)
    assert 0 <= found.metrics["mig"] <= 1
    assert found.details["disentanglement"]["factors"] == ["factor 1"]
    assert "mig" in evaluate(run, images, importance_samples=2, generated_images=2).not_applicable


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda run, x, y: load_factors("digits"), "factors of variation of digits are not known"),
        (lambda run, x, y: load_factors("shapes", "tests"), "did you mean 'test'"),
        (lambda run, x, y: disentanglement(y, y), r"codes are int64 of shape \(200,\); numbers \(n, d\) are needed"),
        (lambda run, x, y: disentanglement(y[:, None], y), r"codes are torch\.int64; floats are needed"),
        (lambda run, x, y: disentanglement(np.full((200, 2), "a"), y), "codes are <U1 of shape"),
        (lambda run, x, y: disentanglement([1.0], y), "codes are a list"),
        (lambda run, x, y: disentanglement(represent(run, x)[:9], y), "there are 9 images and the factors of 200"),
        (lambda run, x, y: disentanglement(represent(run, x), y, splits=0), "splits must be a whole .* got 0"),
        (lambda run, x, y: disentanglement(represent(run, x), y, splits=1.5), "splits must be a whole number"),
        (lambda run, x, y: disentanglement(represent(run, x), y, seed=-1), "seed must be a whole number from 0"),
        (lambda run, x, y: disentanglement(represent(run, x), np.arange(200)), "200 values among 200 images"),
        (lambda run, x, y: disentanglement(represent(run, x) * np.nan, y), "codes are not finite"),
        (lambda run, x, y: evaluate(run, x, factors=load_factors("shapes")), "200 images and the factors of 6615"),
        (lambda run, x, y: evaluate(run, factors=y), "the run was trained on images in memory|measured as on its"),
    ],
)  # fmt: skip
def test_what_cannot_be_scored_is_refused_in_one_line(call, message, run, images, labels):
    with pytest.raises(UserError, match=message) as raised:
        call(run, images, labels)
    assert "\n" not in str(raised.value)


def test_texts_are_not_ordered_even_if_they_are_numbers():
    labels = np.arange(200) % 10
    words = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
    assert [kind.is_ordered for kind in known_factors(labels, 200).kinds] == [True]
    for texts in (labels.astype(str), words[labels]):
        assert [kind.is_ordered for kind in known_factors(texts, 200).kinds] == [False]
