"""Calls for few labels, outliers, denoising and compression give the numbers of the boards."""

import numpy as np
import pytest
import torch

from benchmarks import (
    auroc,
    compression,
    corrupt,
    decode,
    denoise,
    denoising_gain,
    encode,
    evaluate,
    few_label_accuracy,
    fit,
    likelihoods,
    outlier_scores,
    reconstruct,
)
from benchmarks.errors import UserError
from benchmarks.evaluation.tasks.denoising import NOISES


def test_the_boards_evaluation_and_the_calls_give_the_same_numbers(trained, images, labels):
    run = trained("vae")
    train, test = images[:150], images[150:]
    few = few_label_accuracy(run, train, labels[:150], test, labels[150:], count=100)
    errors = compression(run, test, train)
    found = evaluate(
        run, test, labels[150:], train_images=train, train_labels=labels[:150], outliers=1 - test, importance_samples=3
    )
    assert found.metrics["few_labels_100_linear"] == few["linear"]
    assert found.metrics["few_labels_100_knn"] == few["nearest"]
    assert found.metrics["compression_mse_2"] == errors["code"][2]
    assert found.metrics["compression_of_pca_2"] == pytest.approx(errors["code"][2] / errors["pca"][2])
    by_error = auroc(outlier_scores(run, test, samples=3)["mse"], outlier_scores(run, 1 - test, samples=3)["mse"])
    assert found.metrics["outliers_dataset_auroc_mse"] == by_error
    noisy = corrupt(test, "gaussian", NOISES["denoising_gaussian_20"][1])
    gain = denoising_gain(test, noisy, denoise(run, noisy))
    # denoise() rounds images to 8 bits, the evaluation does not.
    assert found.metrics["denoising_gaussian_20"] == pytest.approx(gain, abs=0.05)


def test_one_hot_rows_are_classes_of_few_labels(trained, images, labels):
    run, rows = trained("vae"), np.eye(10)[labels]
    expected = few_label_accuracy(run, images, labels, images, labels, count=50)
    assert few_label_accuracy(run, images, rows, images, rows, count=50) == expected


def test_scores_are_higher_for_what_is_less_likely(trained, images):
    run = trained("vae", epochs=30)
    inside, outside = outlier_scores(run, images, seed=0), outlier_scores(run, 1 - images, seed=0)
    for score in ("mse", "elbo", "log_likelihood"):
        assert auroc(inside[score], outside[score]) > 0.9, score
        assert auroc(outside[score], inside[score]) < 0.1, score
    torch.testing.assert_close(inside["elbo"], -likelihoods(run, images, seed=0)["elbo"])
    assert outlier_scores(trained("ae"), images).keys() == {"mse"}


def test_all_numbers_of_a_code_are_the_plain_reconstruction_and_one_component_is_a_line(trained, images):
    run = trained("ae")
    x = torch.tensor((images * 255).round() / 255)[:, None].float()
    errors = compression(run, images, images, counts=[1, 2, 5])
    assert errors["code"][2] == pytest.approx(float((reconstruct(run, images) - x).square().mean()), rel=1e-5)
    assert sorted(errors["code"]) == [1, 2]
    assert sorted(errors["pca"]) == [1, 2, 5]
    codes = encode(run, images)
    axis = torch.linalg.eigh(torch.cov(codes.double().T)).eigenvectors[:, 1:].float()
    on_a_line = (codes - codes.mean(0)) @ axis @ axis.T + codes.mean(0)
    assert errors["code"][1] == pytest.approx(float((decode(run, on_a_line) - x).square().mean()), rel=1e-4)


def test_noise_is_the_same_at_every_call_and_as_strong_as_was_asked(images):
    grey = np.full((500, 8, 8), 0.5)
    assert torch.equal(corrupt(images), corrupt(images))
    assert torch.equal(corrupt(images, strength=0), torch.tensor((images * 255).round() / 255)[:, None].float())
    assert corrupt(grey, "gaussian", 0.1).std() == pytest.approx(0.1, rel=0.02)
    peppered = corrupt(grey, "salt_and_pepper", 0.3)
    assert (peppered == 0).float().mean() == pytest.approx(0.15, rel=0.1)
    assert (peppered == 1).float().mean() == pytest.approx(0.15, rel=0.1)


def test_the_gain_is_that_of_the_pixels_as_they_are():
    clean = np.full((2, 8, 8), 1.0)
    assert denoising_gain(clean, clean - 0.1, clean + 0.01) == pytest.approx(20, abs=1e-3)


def test_the_gain_of_a_model_of_padded_images_is_that_of_the_images(images):
    options = {"epochs": 1, "progress": False, "dataset.pad": 12, "network.hidden": [8]}
    run = fit("vae", dataset="digits", profile="smoke", **options)
    noisy = corrupt(images)
    denoised = denoise(run, noisy)
    assert torch.equal(denoised, denoise(run, torch.nn.functional.pad(noisy, (2, 2, 2, 2)))[..., 2:-2, 2:-2])
    assert np.isfinite(denoising_gain(images, noisy, denoised))


def test_a_model_of_binary_pixels_sees_noise_as_it_is(run, images):
    binary = images > 0.5
    noisy = corrupt(binary)
    levels = (noisy * 255).round() / 255
    torch.testing.assert_close(denoise(run, noisy), run.model.reconstruct(levels))
    # reconstruct() draws grey pixels as binary ones first.
    assert not torch.equal(denoise(run, noisy), reconstruct(run, noisy))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t, x, y: few_label_accuracy(t("vae"), x, y, x, y, count=500), "500 labels are more than the 200"),
        (lambda t, x, y: few_label_accuracy(t("vae"), x, y, x, y, count=5), "5 labels are fewer than the 10 classes"),
        (lambda t, x, y: few_label_accuracy(t("vae"), x, y, x, y + 1), "test_labels reach 10, and labels 9"),
        (
            lambda t, x, y: few_label_accuracy(t("vae"), x, y, x, y, neighbours=0),
            "neighbours must be a whole number",
        ),
        (lambda t, x, y: few_label_accuracy(t("vae"), x, y, x, y, neighbours=101), "from 1 to 100, got 101"),
        (lambda t, x, y: few_label_accuracy(t("vae"), x, y, x, y, count="50"), "count must be a whole number .* '50'"),
        (lambda t, x, y: few_label_accuracy(t("vae"), x, y, x, y, count=50.5), "count must be a whole number .* 50.5"),
        (lambda t, x, y: few_label_accuracy(t("vae"), x, y * 0, x, y * 0), "every label is 0: images of two classes"),
        (lambda t, x, y: few_label_accuracy(t("vae"), x, np.ones((200, 2)), x, y), "one class per image is needed"),
        (lambda t, x, y: auroc(x[0], x[1]), r"scores inside are float64 of shape \(8, 8\); numbers \(n,\)"),
        (lambda t, x, y: auroc(x[0, 0], x[0, 0, :0]), r"scores of outliers are float64 of shape \(0,\)"),
        (lambda t, x, y: auroc(x[0, 0] * np.nan, x[0, 0]), "8 of 8 scores inside are NaN"),
        (lambda t, x, y: few_label_accuracy(t("cvae"), x, y, x, y), "for a model without a condition"),
        (lambda t, x, y: outlier_scores(t("cvae"), x), "for a model without a condition"),
        (lambda t, x, y: denoise(t("cvae"), x), "for a model without a condition"),
        (lambda t, x, y: denoise(t("vae"), x[:, :3]), "noisy images have shape"),
        (lambda t, x, y: corrupt(x, "gausian"), "unknown noise 'gausian'; did you mean 'gaussian'"),
        (lambda t, x, y: corrupt(x, "salt_and_pepper", 2), "strength must be a number from 0 to 1, got 2"),
        (lambda t, x, y: corrupt(x, strength=-1), "strength must be a number from 0, got -1"),
        (lambda t, x, y: corrupt(x, strength="0.2"), "strength must be a number from 0, got '0.2'"),
        (lambda t, x, y: corrupt(x, strength=np.inf), "strength must be a number from 0, got inf"),
        (lambda t, x, y: denoising_gain(x, x, x[:3]), "the shapes of the images differ"),
        (lambda t, x, y: compression(t("vq_vae"), x, x), "not continuous"),
        (lambda t, x, y: compression(t("joint_vae"), x, x), "a part of this one is discrete"),
        (lambda t, x, y: compression(t("vae"), x, x, counts=[0]), "counts must be a whole number from 1, got 0"),
        (lambda t, x, y: compression(t("vae"), x, x, counts=[1.5]), "counts must be a whole number from 1, got 1.5"),
        (
            lambda t, x, y: compression(t("vae"), x, x, counts=[]),
            r"such as \[1, 2, 4\], got \[\]",
        ),
        (lambda t, x, y: compression(t("vae"), x, x, counts=2), "counts must be a list of whole numbers, .*, got 2"),
    ],
)
def test_what_cannot_be_done_is_one_line(trained, images, labels, call, message):
    with pytest.raises(UserError, match=message) as refused:
        call(trained, images, labels)
    assert "\n" not in str(refused.value)
