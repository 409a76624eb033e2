"""Classifiers with few labels: balanced draws, known answers, and codes that have seen no other labels."""

from dataclasses import replace

import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

import variants
from benchmarks.evaluation.evaluate import Context, evaluate
from benchmarks.evaluation.representation import knn_accuracy, linear_probe_accuracy
from benchmarks.evaluation.tasks import few_labels
from benchmarks.evaluation.tasks.few_labels import balanced_draws, few_labels_accuracy, nearest_accuracy

from ...variants.models import batch, binary_images, small
from ..cells import digits
from .test_families import measured

NAMES = [f"few_labels_{count}_{classifier}" for count in (100, 1000) for classifier in ("linear", "knn")]


def test_draws_are_balanced_distinct_and_the_same_again():
    labels = torch.randint(7, (900,))
    draws = balanced_draws(labels, 100)
    assert len(draws) == few_labels.DRAWS == 10
    for rows in draws:
        assert len(rows.unique()) == 100
        # 100 = 7 * 14 + 2
        assert sorted(labels[rows].bincount().tolist()) == [14] * 5 + [15] * 2
    assert len({tuple(labels[rows].bincount().tolist()) for rows in draws}) > 1
    assert len({tuple(rows.sort().values.tolist()) for rows in draws}) == 10
    torch.manual_seed(5)
    assert all(torch.equal(a, b) for a, b in zip(draws, balanced_draws(labels, 100), strict=True))


@pytest.mark.parametrize(
    ("labels", "count", "reason"),
    [
        (torch.arange(10).repeat(9), 100, "100 labels are more than the 90 training images that were looked at"),
        (torch.arange(150).repeat(2), 100, "100 labels are fewer than the 150 classes"),
        (torch.tensor([0] * 995 + [1] * 5), 100, "100 labels need 50 images of each class, and of one there are 5"),
    ],
)
def test_draws_that_cannot_be_made_have_a_reason(labels, count, reason):
    with pytest.raises(ValueError, match=reason):
        balanced_draws(labels, count)


def test_codes_that_are_the_class_need_few_labels_and_noise_stays_at_chance():
    labels, test_labels = torch.arange(10).repeat(60), torch.arange(10).repeat(100)
    one_hot, noise = torch.eye(10), torch.randn(1600, 10)
    for count, neighbours in ((100, 1), (500, 5)):
        draws = balanced_draws(labels, count)
        assert few_labels_accuracy(one_hot[labels], labels, one_hot[test_labels], test_labels, draws, neighbours) == (
            1, 1,
        )  # fmt: skip
        for accuracy in few_labels_accuracy(noise[:600], labels, noise[600:], test_labels, draws, neighbours):
            assert accuracy == pytest.approx(0.1, abs=0.03)


@pytest.mark.parametrize("neighbours", [1, 5, 10])
def test_the_vote_is_scikit_learns_over_one_batch_and_over_many_with_a_ragged_tail(neighbours, monkeypatch):
    labels, test_labels = torch.randint(4, (80,)), torch.randint(4, (333,))
    # Far from the origin, differences of large squares would lose the digits that order the neighbours.
    train, test = torch.randn(80, 3) + 300, torch.randn(333, 3) + 300
    expected = KNeighborsClassifier(neighbours).fit(train.numpy(), labels.numpy()).score(test.numpy(), test_labels)
    for size in (1000, 100, 7):
        monkeypatch.setattr(few_labels, "BATCH", size)
        assert nearest_accuracy(train, labels, test, test_labels, neighbours) == pytest.approx(expected, abs=1e-12)


def test_equal_votes_go_to_the_lower_class():
    train, labels = torch.tensor([[0.0], [1.0]]), torch.tensor([2, 1])
    assert nearest_accuracy(train, labels, torch.tensor([[0.1]]), torch.tensor([1]), 2) == 1


def test_the_mean_is_over_all_draws():
    labels, test_labels = torch.arange(2).repeat(50), torch.arange(2).repeat(80)
    train, test = torch.randn(100, 2) + labels[:, None], torch.randn(160, 2) + test_labels[:, None]
    draws = balanced_draws(labels, 20)
    single = [
        (
            linear_probe_accuracy(train[rows], labels[rows], test, test_labels),
            nearest_accuracy(train[rows], labels[rows], test, test_labels, 1),
        )
        for rows in draws
    ]
    assert len(set(single)) > 1
    means = tuple(sum(values) / 10 for values in zip(*single, strict=True))
    assert few_labels_accuracy(train, labels, test, test_labels, draws, 1) == pytest.approx(means)


def test_labels_outside_the_draws_change_nothing():
    labels, test_labels = torch.arange(2).repeat(150), torch.arange(2).repeat(100)
    train, test = torch.randn(300, 3) + labels[:, None], torch.randn(200, 3) + test_labels[:, None]
    draws = balanced_draws(labels, 10)
    seen = torch.cat(draws).unique()
    assert 10 < len(seen) < 150
    other = 1 - labels
    other[seen] = labels[seen]
    codes = train.clone()
    codes[other != labels] = 99
    assert few_labels_accuracy(codes, other, test, test_labels, draws, 5) == few_labels_accuracy(
        train, labels, test, test_labels, draws, 5
    )


def of_the_suite(name):
    cls = variants.lookup(name)
    return cls.__module__.startswith("variants.") and not cls.conditional


@pytest.mark.parametrize("name", filter(of_the_suite, variants.names()))
def test_no_unconditional_variant_of_the_suite_trains_on_labels(name):
    """A classifier with few labels must not use codes of a variant that has seen the other labels."""
    model, first = small(name), batch(binary_images(12))
    assert first.labels is not None
    losses = []
    for labels in (first.labels, first.labels.flip(0)):
        torch.manual_seed(1)
        losses.append(model.loss(replace(first, labels=labels), torch.tensor(0.5)).by_group)
    for group, loss in losses[0].items():
        assert torch.equal(loss, losses[1][group])


def test_the_family_measures_what_the_probe_images_suffice_for():
    variant, data, config = measured(images=300)
    splits = digits()
    x = (splits.train.images[:500].float() / 255).round()
    data = replace(data, probe=x, probe_labels=splits.train.labels[:500])
    found = evaluate(variant, data, config, 0)
    assert 0.1 < found.metrics["few_labels_100_knn"] < found.metrics["knn_accuracy"]
    assert 0.1 < found.metrics["few_labels_100_linear"] < found.metrics["linear_probe_accuracy"]
    reason = "1,000 labels are more than the 500 training images that were looked at"
    assert [found.not_applicable.get(name) for name in NAMES] == [None, None, reason, reason]


def test_codes_are_computed_once_for_all_families_and_are_those_of_represent():
    variant, data, config = measured()
    context = Context(variant, data, config, 0)
    counted = []
    variant.encoder.register_forward_hook(lambda module, inputs, output: counted.append(len(output)))
    for _ in range(2):
        assert torch.equal(context.test_codes, variant.represent(data.x))
        assert torch.equal(context.probe_codes, variant.represent(data.probe))
    assert len(counted) == 2 + 4
    # The accuracy equals that of a separate computation.
    found = evaluate(variant, data, config, 0).metrics["knn_accuracy"]
    assert found == knn_accuracy(context.probe_codes, data.probe_labels, context.test_codes, data.labels)
