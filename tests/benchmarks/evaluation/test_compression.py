"""Images from k numbers, with known errors: that of scikit-learn's PCA, or that of the whole code."""

import csv

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

import variants
from benchmarks.config import EvaluationConfig
from benchmarks.evaluation.evaluate import BATCH, Context, Evaluation, EvaluationData, evaluate
from benchmarks.evaluation.families import compression
from benchmarks.evaluation.reconstruction import mse
from benchmarks.evaluation.tasks import compression as mathematics
from benchmarks.evaluation.tasks.compression import code_errors, dimensions, pca_errors, principal_components
from variants.parts.networks import MLP, Linear

from ..cells import run

SIDE = 8
D = SIDE * SIDE


def images(count, seed=0):
    """Images (count, 1, 8, 8) whose pixels depend on each other, and whose principal components differ in length."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(D, D, generator=torch.Generator().manual_seed(9)) * torch.logspace(0, -2, D)[:, None]
    return (0.5 + 0.05 * torch.randn(count, D, generator=generator) @ mixing).reshape(-1, 1, SIDE, SIDE)


@torch.no_grad()
def compressed(variant, x, probe, condition=None):
    data = EvaluationData(x, None, probe, None, {}, condition, condition)
    result = Evaluation()
    compression.compute(Context(variant.eval(), data, EvaluationConfig(), 0), result)
    return result


def curve(found):
    """The columns of the table, as numbers; an empty entry is None."""
    rows = list(csv.DictReader(found.tables["compression.csv"].splitlines()))
    return {name: [float(row[name]) if row[name] else None for row in rows] for name in rows[0]}


def pca_autoencoder(probe, size, mixing):
    """A linear autoencoder whose code is ``mixing`` (size, size) times the coordinates of a PCA of ``probe``."""
    fitted = PCA(size).fit(probe.flatten(1).numpy())
    axes, mean = torch.from_numpy(fitted.components_), torch.from_numpy(fitted.mean_)
    model = variants.build("ae", (1, SIDE, SIDE), Linear(latent_size=size))
    (encoder,) = (layer for layer in model.encoder if isinstance(layer, torch.nn.Linear))
    (decoder,) = (layer for layer in model.decoder if isinstance(layer, torch.nn.Linear))
    encoder.weight.data, encoder.bias.data = mixing @ axes, -mixing @ axes @ mean
    decoder.weight.data, decoder.bias.data = axes.T @ torch.linalg.inv(mixing), mean
    return model


def by_sklearn(x, probe, k):
    fitted = PCA(k, svd_solver="full").fit(probe.flatten(1).double().numpy())
    flat = x.flatten(1).double().numpy()
    return np.square(flat - fitted.inverse_transform(fitted.transform(flat))).mean()


def test_sizes_are_powers_of_two_and_the_whole_code():
    assert dimensions(1) == [1]
    assert dimensions(8) == [1, 2, 4, 8]
    assert dimensions(10) == [1, 2, 4, 8, 10]


@pytest.mark.parametrize("rotated", [False, True])
def test_a_linear_autoencoder_that_is_a_pca_has_the_error_of_scikit_learns_at_every_k(rotated):
    x, probe = images(150, seed=1), images(400)
    rotation = torch.linalg.qr(torch.randn(40, 40))[0] if rotated else torch.eye(40)
    found = compressed(pca_autoencoder(probe, 40, rotation), x, probe)
    table = curve(found)
    assert table["dimensions"] == [1, 2, 4, 8, 16, 32, 40]
    expected = [by_sklearn(x, probe, k) for k in (1, 2, 4, 8, 16, 32, 40)]
    assert table["mse"] == pytest.approx(expected, rel=1e-4)
    assert table["pca_mse"] == pytest.approx(expected, rel=1e-5)
    for k in (2, 8, 32):
        assert found.metrics[f"compression_mse_{k}"] == pytest.approx(by_sklearn(x, probe, k), rel=1e-4)
        assert found.metrics[f"compression_of_pca_{k}"] == pytest.approx(1, rel=1e-4)
        assert found.details["reference_compression"][f"compression_mse_{k}"] == pytest.approx(by_sklearn(x, probe, k))


@pytest.mark.parametrize("name", ["vae", "ae", "iaf_vae", "structured_vae", "auxiliary_vae", "sparse_ae", "wae_mmd"])
def test_all_numbers_of_a_code_are_the_plain_reconstruction(name):
    x = images(60).clamp(0, 1).round()
    variant = variants.build(name, (1, SIDE, SIDE), MLP(latent_size=8, hidden=[16]))
    data = EvaluationData(x, None, images(40), None, {})
    found = evaluate(variant, data, EvaluationConfig(importance_samples=2, generated_images=4), seed=0)
    assert found.metrics["compression_mse_8"] == found.metrics["mse"]
    assert found.not_applicable["compression_mse_32"] == "the code has 8 numbers"
    assert found.not_applicable["compression_of_pca_32"] == "the code has 8 numbers"
    assert found.failed == {}


def test_a_code_larger_than_the_image_has_a_curve_to_its_end():
    x, probe = images(60).clamp(0, 1), images(200, seed=1).clamp(0, 1)
    variant = variants.build("sparse_ae", (1, SIDE, SIDE), MLP(latent_size=100, hidden=[16]))
    table = curve(compressed(variant, x, probe))
    assert table["dimensions"] == [1, 2, 4, 8, 16, 32, 64, 100]
    assert table["mse"][-1] == pytest.approx(mse(x, variant.reconstruct(x)), rel=1e-5)
    # A PCA with as many components as pixels has no error, so its error is not reported.
    assert table["pca_mse"][-2:] == [None, None]
    assert all(value > 0 for value in table["pca_mse"][:-2])


@torch.no_grad()
def test_ragged_batches_give_the_errors_of_one_image_at_a_time():
    x, probe = images(BATCH + 37).clamp(0, 1), images(100, seed=1).clamp(0, 1)
    vae = variants.build("vae", (1, SIDE, SIDE), MLP(latent_size=4, hidden=[8])).eval()
    found = compressed(vae, x, probe).metrics["compression_mse_2"]
    components = principal_components(vae.posterior(probe).mean, 2)
    one_by_one = [mse(image, vae.image(components.cut(vae.posterior(image).mean, 2))) for image in x.split(1)]
    assert found == pytest.approx(sum(one_by_one) / len(x), rel=1e-5)


def test_components_of_many_dimensions_are_nearly_the_exact_ones(monkeypatch):
    probe = images(300).flatten(1)
    exact = principal_components(probe, 6)
    monkeypatch.setattr(mathematics, "MOST_EXACT", 10)
    torch.manual_seed(4)
    state = torch.get_rng_state()
    found = principal_components(probe, 6)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.allclose(found.axes @ found.axes.T, torch.eye(6, dtype=torch.double), atol=1e-12)
    assert (found.axes * exact.axes).sum(1).abs().min() > 0.999
    x = images(100, seed=2)
    for k in (1, 3, 6):
        assert pca_errors(x, images(300), [k])[k] == pytest.approx(by_sklearn(x, images(300), k), rel=1e-3)


def test_few_training_images_have_few_components_and_the_whole_code_needs_none():
    x, few = images(20), images(5, seed=1)
    errors = code_errors(lambda z: z.reshape(-1, 1, SIDE, SIDE), x.flatten(1), x, few.flatten(1), [2, 4, 8, D])
    assert list(errors) == [2, 4, D]
    assert errors[D] == 0
    assert list(pca_errors(x, few, [2, 4, 8])) == [2, 4]
    assert pca_errors(x, few, [8]) == {}
    found = compressed(variants.build("vae", (1, SIDE, SIDE), MLP(latent_size=16, hidden=[8])), x, few)
    assert found.not_applicable["compression_mse_8"] == "5 training images have fewer principal components"
    assert found.not_applicable["compression_of_pca_8"] == "5 training images have fewer principal components"
    assert "compression_mse_2" in found.metrics


def test_images_of_few_pixels_are_not_compared_with_a_pca_that_loses_nothing():
    x = images(50)[..., :2, :4].clamp(0, 1)
    found = compressed(variants.build("vae", (1, 2, 4), MLP(latent_size=8, hidden=[8])), x, x)
    assert "compression_mse_8" in found.metrics
    assert found.not_applicable["compression_of_pca_8"] == "a PCA loses nothing with 8 numbers"
    assert list(found.details["reference_compression"]) == ["compression_mse_2"]


def test_discrete_codes_and_codes_that_are_not_finite_have_a_reason():
    x = images(30).clamp(0, 1).round()
    config = EvaluationConfig(importance_samples=2, generated_images=4)
    for name, reason in (
        ("vq_vae", "discrete latent variables: see code perplexity"),
        ("gumbel_vae", "discrete latent variables: see code perplexity"),
        ("joint_vae", "the latent vector also has a discrete variable"),
    ):
        variant = variants.build(name, (1, SIDE, SIDE), MLP(latent_size=4, hidden=[8]))
        found = evaluate(variant, EvaluationData(x, None, x, None, {}), config, seed=0)
        assert {found.not_applicable[f"compression_{kind}_2"] for kind in ("mse", "of_pca")} == {reason}
        assert found.tables == {}
    broken = variants.build("ae", (1, SIDE, SIDE), MLP(latent_size=4, hidden=[8]))
    broken.encoder[-1].bias.data[0] = torch.nan
    assert set(compressed(broken, x, x).not_applicable.values()) == {"codes are not finite"}


def test_a_run_leaves_its_curve_beside_its_record_and_the_whole_code_is_its_reconstruction(tmp_path):
    record = run(tmp_path)
    rows = list(csv.DictReader((tmp_path / "runs" / record.run_id / "compression.csv").read_text().splitlines()))
    assert [row["dimensions"] for row in rows] == ["1", "2", "4"]
    # The family uses the first 2,000 test images, so it uses all 200 of a smoke run.
    assert float(rows[-1]["mse"]) == pytest.approx(record.metrics["mse"], rel=1e-5)
    assert float(rows[1]["mse"]) == pytest.approx(record.metrics["compression_mse_2"], rel=1e-5)
    assert float(rows[1]["pca_mse"]) == pytest.approx(
        record.details["reference_compression"]["compression_mse_2"], rel=1e-5
    )
    ratio = float(rows[1]["mse"]) / float(rows[1]["pca_mse"])
    assert record.metrics["compression_of_pca_2"] == pytest.approx(ratio, rel=1e-4)
    assert ratio != pytest.approx(1, rel=0.01)
