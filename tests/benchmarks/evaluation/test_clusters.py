"""k-means on codes, and the comparison of clusters with classes."""

import pytest
import torch

from benchmarks.evaluation.tasks.clusters import agreement, clusters


def blobs(count=40, seed=0):
    """Codes of three classes, far from each other."""
    centres = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]])
    labels = torch.arange(3).repeat_interleave(count)
    return centres[labels] + torch.randn(3 * count, 2, generator=torch.Generator().manual_seed(seed)), labels


def test_classes_that_lie_apart_are_found():
    codes, labels = blobs()
    assert agreement(clusters(codes, 3, starts=3, seed=0), labels) == {"accuracy": 1.0, "nmi": pytest.approx(1.0)}


def test_codes_without_classes_agree_with_them_by_chance():
    labels = blobs(1000)[1]
    found = agreement(clusters(torch.randn(3000, 2), 3, starts=3, seed=0), labels)
    assert found["accuracy"] == pytest.approx(1 / 3, abs=0.05)
    assert found["nmi"] == pytest.approx(0, abs=0.01)


def test_names_of_clusters_do_not_matter_and_a_split_class_costs_its_smaller_part():
    labels = torch.tensor([0] * 6 + [1] * 4)
    assert agreement(1 - labels, labels)["accuracy"] == 1
    split = torch.tensor([2] * 4 + [0] * 2 + [1] * 4)
    assert agreement(split, labels)["accuracy"] == pytest.approx(0.8)


def test_mutual_information_is_over_the_mean_of_both_entropies():
    """Two classes of two images each, four clusters of one image: I = log 2, and the entropies are log 2 and log 4."""
    found = agreement(torch.tensor([0, 1, 2, 3]), torch.tensor([0, 0, 1, 1]))
    assert found["nmi"] == pytest.approx(2 / 3)
