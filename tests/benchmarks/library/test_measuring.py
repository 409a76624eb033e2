"""Every metric in one call, on any images."""

import logging

import numpy as np
import pytest
import torch

import variants
from benchmarks import Evaluator, encode, evaluate, fit, likelihoods, sample, sample_quality
from benchmarks.data import cache_root, feature_cache
from benchmarks.errors import UserError
from benchmarks.evaluation.judges import network
from benchmarks.evaluation.likelihood import log_likelihood_of
from benchmarks.library.latent import observed
from benchmarks.library.measuring import PER_IMAGE
from benchmarks.seeding import seed_everything

from ..cells import CPU, digits, setting

FEW = {"importance_samples": 5, "generated_images": 150}


def test_every_family_of_metrics_is_measured_on_given_images(run, images, labels):
    found = evaluate(run, images[:100], labels[:100], judge="digits", **FEW)
    for name in ("elbo", "log_likelihood", "mse", "fid_features", "fid_features_gmm", "knn_accuracy", "active_units"):
        assert np.isfinite(found.metrics[name]), name
    assert not found.failed
    assert found.metrics.keys().isdisjoint(found.not_applicable)


def test_samples_are_judged_alike_by_an_evaluation_and_by_themselves(run, images):
    found = evaluate(run, images, judge="digits", **FEW)
    seed_everything(0, "samples")
    alone = sample_quality(sample(run, 150), images, judge="digits")
    assert found.metrics["fid_features"] == pytest.approx(alone["fid"], rel=1e-5)
    assert found.metrics["kid_features"] == pytest.approx(alone["kid"], rel=1e-5)
    for name in ("precision", "recall", "density", "coverage"):
        assert found.metrics[name] == alone[name], name


def test_images_are_at_no_distance_from_themselves_and_nearer_than_noise(images):
    same = sample_quality(images, images, judge="digits")
    assert same["fid"] == pytest.approx(0, abs=1e-3)
    assert same["precision"] == same["recall"] == same["coverage"] == 1
    noise = sample_quality(torch.rand(200, 8, 8), images, judge="digits")
    assert noise["fid"] > 100
    assert "recall" not in sample_quality(images[:4], images, judge="digits")


def test_generated_pixels_outside_the_unit_interval_are_clamped_with_a_warning(images, caplog):
    overshot = torch.tensor(images) * 1.5 - 0.2
    found = sample_quality(overshot, images, judge="digits")
    assert "pixels from -0.20 to 1.30, which are clamped to [0, 1]" in caplog.text
    assert found == sample_quality(overshot.clamp(0, 1), images, judge="digits")


def test_classifiers_are_fitted_on_the_training_images_of_the_run_or_on_those_given(run, images, labels):
    own = evaluate(run, images[:50], labels[:50], **FEW)
    given = evaluate(run.model, images[:50], labels[:50], train_images=images, train_labels=labels, **FEW)
    for name in ("knn_accuracy", "linear_probe_accuracy"):
        assert own.metrics[name] == given.metrics[name]
    unlabelled = evaluate(run.model, images[:50], labels[:50], train_images=images, judge="digits", **FEW)
    assert unlabelled.not_applicable["knn_accuracy"] == "the training images have no labels"
    assert unlabelled.not_applicable["kid_features_se"] == "a standard error needs two blocks of 500 images"
    without = evaluate(run.model, images[:50], labels[:50], **FEW)
    assert without.not_applicable["knn_accuracy"] == "no training images were given"
    assert without.not_applicable["fid_features"].startswith("no judge was named for these images (judge='mnist'")
    assert not without.failed


def test_the_judge_of_a_runs_own_data_set_is_used_unless_another_is_named(tmp_path, images):
    run = fit("vae", dataset="digits", profile="smoke", epochs=1, progress=False, **{"network.hidden": [8]})
    assert evaluate(run, images, **FEW).details["judge"] == "judge-digits"
    # Without images, evaluate() uses the whole test split, as the board does.
    assert evaluate(run, **FEW).details["judge"] == "judge-digits"


def test_a_model_of_padded_images_takes_them_with_and_without_their_zeros(images):
    options = {"epochs": 1, "progress": False, "dataset.pad": 12, "network.hidden": [8]}
    run = fit("vae", dataset="digits", profile="smoke", **options)
    wide = np.pad(images, ((0, 0), (2, 2), (2, 2)))
    assert torch.equal(encode(run, images), encode(run, wide))
    found = evaluate(run, images, **FEW)
    assert found.metrics == evaluate(run, wide, **FEW).metrics
    assert found.details["judge"] == "judge-digits"
    with pytest.raises(UserError, match=r"\(n, 1, 12, 12\) is needed"):
        encode(run, np.pad(wide, ((0, 0), (1, 1), (1, 1))))


def test_a_judge_of_another_size_is_neither_taken_by_itself_nor_when_it_is_named(images):
    options = {"epochs": 1, "progress": False, "dataset.image_size": 16, "network.hidden": [8]}
    doubled = images.repeat(2, axis=1).repeat(2, axis=2)
    for padding in ({}, {"dataset.pad": 32}):
        run = fit("vae", dataset="digits", profile="smoke", **options, **padding)
        found = evaluate(run, doubled, **FEW)
        assert "fid_features" not in found.metrics
        assert "has not seen resized images" in found.not_applicable["fid_features"]
        for judge, side in (("digits", 8), ("mnist", 28)):
            message = rf"'{judge}' takes images of \(1, {side}, {side}\), and these are \(1, 16, 16\)"
            with pytest.raises(UserError, match=message):
                evaluate(run, doubled, judge=judge, **FEW)


def test_a_judge_of_one_class_is_refused_in_one_line(run, images, labels):
    given = {"train_images": images, "train_labels": np.zeros_like(labels), "judge": "train"}
    with pytest.raises(UserError, match=r"judge='train': .* a single class"):
        evaluate(run, images, np.zeros_like(labels), **given, **FEW)


def test_a_judge_can_be_trained_on_the_training_images_and_is_then_cached(run, images, labels, monkeypatch, caplog):
    monkeypatch.setattr(network, "PASSES", 2)
    given = {"train_images": images[:100], "train_labels": labels[:100], "judge": "train"}
    with caplog.at_level(logging.WARNING):
        found = evaluate(run, images[100:], labels[100:], **given, **FEW)
    assert "training its judge network" in caplog.text
    assert np.isfinite(found.metrics["fid_features"])
    caplog.clear()
    assert evaluate(run, images[100:], labels[100:], **given, **FEW).metrics == found.metrics
    assert not caplog.records


def test_batches_one_by_one_give_the_numbers_of_all_at_once(run, images, labels):
    evaluator = Evaluator(run, judge="digits", **FEW)
    for start in range(0, 200, 64):
        evaluator.update(images[start : start + 64], labels[start : start + 64])
    assert evaluator.compute().metrics == evaluate(run, images, labels, judge="digits", **FEW).metrics
    evaluator.reset()
    with pytest.raises(UserError, match="no images yet"):
        evaluator.compute()
    evaluator.update(images[:2])
    with pytest.raises(UserError, match="either all batches have labels or none"):
        evaluator.update(images[:2], labels[:2])


def test_rows_of_labels_are_one_hot_only_if_those_of_all_batches_are(run, images, labels):
    rows = np.eye(10)[labels]
    evaluator = Evaluator(run, **FEW)
    for start in range(0, 200, 64):
        batch = rows[start : start + 64].copy()
        evaluator.update(images[start : start + 64], batch)
        # As by a loader that fills the same array again.
        batch[:] = 0
    assert evaluator.compute().metrics == evaluate(run, images, labels, **FEW).metrics
    # The only row of this batch has one attribute, and the next one two.
    evaluator.reset()
    evaluator.update(images[:1], np.array([[1, 0]]))
    evaluator.update(images[1:3], np.array([[1, 1], [0, 1]]))
    assert "knn_accuracy" in evaluator.compute().not_applicable
    with pytest.raises(UserError, match="labels have 1 columns, those before had 2"):
        evaluator.update(images[:2], labels[:2])


def test_an_evaluator_refuses_the_options_that_evaluate_refuses(run, images):
    Evaluator(run, judge="digits", seed=1, train_images=images, **FEW)
    for options, message in (
        ({"foo": 3}, r"unknown option of the evaluation 'foo' \(allowed: .*, judge, "),
        ({"judg": "digits"}, "unknown option of the evaluation 'judg'; did you mean 'judge'"),
        ({"images": images}, "unknown option of the evaluation 'images'"),
        ({"importance_samples": 2.5}, "importance_samples must be a whole number, got 2.5"),
        ({"inception": "no"}, "inception must be true or false, got 'no'"),
        ({"judge": "digit"}, "unknown judge 'digit'; did you mean 'digits'"),
        ({"seed": -1}, "seed must be a whole number from 0 to .*, got -1"),
        ({"train_images": images[:, :4]}, r"train_images have shape \(200, 4, 8\); \(n, 1, 8, 8\) is needed"),
        ({"train_labels": images[:, 0, 0]}, "train_labels need train_images"),
        ({"outliers": images[:, :4]}, r"images have shape \(200, 4, 8\); \(n, 1, 8, 8\) is needed"),
    ):
        with pytest.raises(UserError, match=message):
            Evaluator(run, **options)


def test_likelihoods_of_images_are_those_of_the_evaluation(run, images):
    torch.manual_seed(3)
    found = likelihoods(run, images, samples=7)
    torch.manual_seed(3)
    torch.testing.assert_close(found["log_likelihood"], log_likelihood_of(run.model, observed(run, images)[0], 7))
    torch.testing.assert_close(found["elbo"], -found["distortion"] - found["kl"])
    assert found.keys() == PER_IMAGE.keys()
    assert torch.equal(likelihoods(run, images, seed=1)["kl"], likelihoods(run, images, seed=1)["kl"])


def test_an_evaluation_follows_its_seed_and_does_not_move_the_callers_random_numbers(run, images):
    torch.manual_seed(5)
    first = evaluate(run, images, **FEW).metrics
    after = torch.rand(2)
    torch.manual_seed(5)
    assert torch.equal(after, torch.rand(2))
    assert evaluate(run, images, **FEW).metrics == first
    assert evaluate(run, images, seed=1, **FEW).metrics["elbo"] != first["elbo"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r, x, y: evaluate(r.model), "a model without a run has no data set of its own: give images"),
        (lambda r, x, y: evaluate(r), "which has no test split: give images"),
        (lambda r, x, y: evaluate(r, labels=y), "without images a run is measured as on its board"),
        (lambda r, x, y: evaluate(r, x, y[:3]), r"labels of images have shape \(3,\); \(200,\) or"),
        (lambda r, x, y: evaluate(r, x, y * 10**12), r"labels of images must be whole numbers from 0 to 24999, got"),
        (
            lambda r, x, y: evaluate(r, x, y, train_images=x, train_labels=y + 200),
            "of train_images go up to 209",
        ),
        (lambda r, x, y: evaluate(r, x, seed="a"), "seed must be a whole number from 0 to 4294967295, got 'a'"),
        (lambda r, x, y: evaluate(r, x, importance_samples=2.5), "importance_samples must be a whole number, got 2.5"),
        (lambda r, x, y: evaluate(r, x, importance_samples="5"), "importance_samples must be a whole number, got '5'"),
        (lambda r, x, y: evaluate(r, x, generated_images=None), "generated_images must be a whole number, got None"),
        (lambda r, x, y: evaluate(r, x, inception="no"), "inception must be true or false, got 'no'"),
        (lambda r, x, y: evaluate(r, x, samples=3), "unknown option of the evaluation 'samples'"),
        (lambda r, x, y: evaluate(r, x, importance_samples=0), "importance_samples must be above 0, got 0"),
        (lambda r, x, y: evaluate(r, x, judge="digit"), "unknown judge 'digit'; did you mean 'digits'"),
        (lambda r, x, y: evaluate(r, x, judge="mnist"), r"takes images of \(1, 28, 28\), and these are \(1, 8, 8\)"),
        (lambda r, x, y: evaluate(r, x, judge="train"), "needs labels, train_images and train_labels"),
        (lambda r, x, y: evaluate(r, x, train_labels=y), "train_labels need train_images"),
        (lambda r, x, y: evaluate(r, x[:1]), "two images or more are needed, got 1"),
        (lambda r, x, y: likelihoods(variants.build("ae", (1, 8, 8)), x), "log p.x. is not defined: an autoencoder"),
        (lambda r, x, y: sample_quality(x, x, "cifar"), "unknown judge 'cifar'"),
        (lambda r, x, y: sample_quality(x[:1], x, "digits"), "two images or more of each are needed, got 1"),
        (lambda r, x, y: sample_quality(x, x, "mnist"), r"images have shape .*\(n, 1, 28, 28\) is needed"),
        (lambda r, x, y: likelihoods(r, x, samples=0), "samples must be a whole number from 1, got 0"),
    ],
)
def test_what_cannot_be_measured_is_one_line(run, images, labels, call, message):
    with pytest.raises(UserError, match=message) as refused:
        call(run, images, labels)
    assert "\n" not in str(refused.value)


def test_the_cache_itself_stands_for_its_folder_of_features(tmp_path, monkeypatch):
    monkeypatch.setenv("VAE_CACHE", str(tmp_path))
    assert (
        feature_cache() == feature_cache(cache_root()) == feature_cache(tmp_path / "features") == tmp_path / "features"
    )
    assert feature_cache(tmp_path / "elsewhere") == tmp_path / "elsewhere"
    assert setting(tmp_path).cache == feature_cache()


def test_a_judge_that_is_cached_is_found_by_whoever_passes_the_cache_itself(tmp_path, monkeypatch, caplog):
    from dataclasses import replace

    from benchmarks.evaluation.features.spaces import judge_space

    monkeypatch.setenv("VAE_CACHE", str(tmp_path))
    monkeypatch.setattr(network, "PASSES", 1)
    data = replace(digits(), sha256="others than those of the shipped judge")
    first = judge_space(data, feature_cache(), CPU, 20)
    caplog.clear()
    monkeypatch.setattr(network, "train", None)
    again = judge_space(data, cache_root(), CPU, 20)
    assert torch.equal(first.reference, again.reference)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["features"]
