"""Evaluation: one encoder pass, no incomplete batch dropped, and reasons in place of missing numbers."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import variants
from benchmarks.config import EvaluationConfig
from benchmarks.data import cache_root
from benchmarks.evaluation import representation
from benchmarks.evaluation.evaluate import (
    Context,
    Evaluation,
    EvaluationData,
    evaluate,
    interim,
    validation_score,
)
from benchmarks.evaluation.families import sample_quality
from benchmarks.evaluation.families.samplers import MIXTURE_COMPONENTS
from benchmarks.evaluation.features import spaces as quality
from benchmarks.evaluation.features.frechet import frechet_distance, statistics
from benchmarks.evaluation.features.spaces import judge_space
from benchmarks.evaluation.likelihood import log_likelihood_of, log_weights, no_bound
from benchmarks.evaluation.objective import mean_objective
from variants import Batch, Loss, Variant
from variants.parts.distributions import DiagonalNormal, kl_divergence
from variants.parts.networks import MLP

from ...variants.models import small
from ..cells import CPU, digits

NETWORK = MLP(latent_size=4, hidden=[16])


def model(name="vae", **options):
    torch.manual_seed(1)
    return variants.build(name, (1, 8, 8), NETWORK, **options)


def images(count):
    return (torch.rand(count, 1, 8, 8) < 0.5).float()


@pytest.mark.parametrize("decodes", [1, 7, 40, 1000])
def test_log_weights_cover_every_image_and_sample_whatever_the_memory_bound(decodes):
    x, vae = images(23), model()
    parts = list(log_weights(vae, x, 10, decodes))
    whole = torch.cat([part.value for part in parts], 1)
    assert whole.shape == (10, 23)
    # The posterior has almost no variance and every draw is its mean, so the numbers cannot depend on the batches.
    vae.encoder[-1].weight.data[4:] = 0
    vae.encoder[-1].bias.data[4:] = -40
    value = torch.cat([part.log_likelihood for part in log_weights(vae, x, 10, decodes)], 1)
    expected = vae.likelihood(vae.posterior(x).mean).log_prob(x)
    assert torch.allclose(value, expected.expand(10, 23), atol=1e-4)


@pytest.mark.parametrize("decodes", [5, 64])
def test_each_image_is_encoded_once_and_no_more_is_decoded_than_allowed(decodes):
    encoded, decoded = [], []
    vae = model()
    vae.encoder.register_forward_hook(lambda module, inputs, output: encoded.append(len(output)))
    vae.decoder.register_forward_hook(lambda module, inputs, output: decoded.append(len(output)))
    list(log_weights(vae, images(13), 20, decodes))
    assert sum(encoded) == 13
    assert sum(decoded) == 13 * 20
    assert max(decoded) <= decodes


def evaluation_data(data, spaces, probe=200):
    x = images(len(data.test))
    return EvaluationData(x, data.test.labels, images(probe), data.train.labels[:probe], spaces)


CONFIG = EvaluationConfig(importance_samples=4, generated_images=60, probe_images=200, information_images=30)


@pytest.fixture(scope="module")
def space():
    return judge_space(digits(), cache_root() / "features", CPU, 60)


@pytest.mark.parametrize("name", variants.names())
def test_every_metric_is_a_number_or_has_a_reason_for_every_variant_alike(name, space):
    options = {"codes": 8} if name == "vq_vae" else {}
    data = evaluation_data(digits(), {"features": space, "inception": "no weights"})
    if variants.lookup(name).conditional:
        options["condition_shape"] = (10,)
        assert data.labels is not None
        one_hot = torch.eye(10)
        data = replace(data, condition=one_hot[data.labels], probe_condition=one_hot[data.probe_labels])
    variant = model(name, **options)
    found = evaluate(variant, data, CONFIG, 0)
    assert not found.metrics.keys() & found.not_applicable.keys()
    assert all(math.isfinite(value) for value in found.metrics.values())
    everything = found.metrics.keys() | found.not_applicable.keys()
    reference = evaluate(model(), evaluation_data(digits(), {"features": space, "inception": "no weights"}), CONFIG, 0)
    assert everything == reference.metrics.keys() | reference.not_applicable.keys()
    assert found.not_applicable["fid_inception"] == "no weights"
    if no_bound(variant):
        assert found.not_applicable["elbo"] == no_bound(variant)


def test_evaluation_does_not_depend_on_the_mode_the_model_was_left_in_nor_on_training_draws(space):
    data = evaluation_data(digits(), {"features": space})
    vae = model()
    first = evaluate(vae.train(), data, CONFIG, 3)
    torch.rand(7)
    assert evaluate(vae.eval(), data, CONFIG, 3).metrics == first.metrics
    assert evaluate(vae, data, CONFIG, 4).metrics["elbo"] != first.metrics["elbo"]


def test_images_that_are_not_finite_fail_the_metric_not_the_cell(space):
    vae = model()
    vae.decoder[-2].bias.data[0] = math.nan
    found = evaluate(vae, evaluation_data(digits(), {"features": space}), CONFIG, 0)
    assert found.not_applicable["fid_features"] == "generated images are not finite"
    everything = len(digits().test)
    assert found.not_applicable["elbo"] == f"not finite (nan), because of {everything:,} of {everything:,} images"
    assert "knn_accuracy" in found.metrics


def test_a_mean_that_is_not_finite_names_the_number_of_images_to_blame():
    found = Evaluation()
    values = torch.tensor([-80.0, -math.inf, -90.0, math.nan])
    found.add("elbo", float(values[:3].mean()), values[:3])
    found.add("kl", float(values.mean()), values)
    found.add("mse", math.inf)
    assert found.not_applicable == {
        "elbo": "not finite (-inf), because of 1 of 3 images",
        "kl": "not finite (nan), because of 2 of 4 images",
        "mse": "not finite (inf)",
    }


def test_fewer_images_than_dimensions_leave_a_warning(space):
    found = evaluate(model(), evaluation_data(digits(), {"features": space}), CONFIG, 0)
    biased = {warning.partition(" from ")[0] for warning in found.warnings if "in 128 dimensions" in warning}
    assert biased == {"fid_features", "fid_features_gmm"}


def test_fewer_test_images_than_dimensions_leave_a_warning_too(space):
    generator = torch.Generator().manual_seed(0)
    many = torch.randn(500, 128, generator=generator)
    few = replace(space, reference=many[:100])
    assert few.bias("fid", many) == ["fid from 500 images and 100 test images in 128 dimensions is biased upwards"]
    assert replace(space, reference=many).bias("fid", many[:128]) == []


def test_log_likelihood_refuses_a_model_without_a_density():
    assert log_likelihood_of(model(), images(5), samples=3).shape == (5,)
    with pytest.raises(ValueError, match="log p\\(x\\) is not defined: deterministic encoder"):
        log_likelihood_of(model("wae_mmd"), images(5), samples=3)


def test_samples_are_rounded_to_8_bits_not_truncated(space):
    seen = []
    original = space.network
    spy = quality.FeatureSpace(
        "features", lambda x: seen.append(x) or original(x), space.reference, space.statistics, {}
    )
    spy(torch.full((1, 1, 8, 8), 0.9 / 255))
    assert (seen[0] * 255).round().unique().tolist() == [1]


def test_mixture_samples_need_a_continuous_code(space):
    data = evaluation_data(digits(), {"features": space})
    assert "fid_features_gmm" in evaluate(model(), data, CONFIG, 0).metrics
    for name in ("gumbel_vae", "joint_vae"):
        assert "mixture" in evaluate(model(name), data, CONFIG, 0).not_applicable["fid_features_gmm"]
    assert MIXTURE_COMPONENTS == 10


class ByLabel(Variant):
    """A loss that reads the labels, split into groups without the name "model"."""

    def loss(self, batch, progress):
        return Loss({"first": batch.labels.double().mean(), "second": batch.images.new_tensor(1.0)})


def test_the_loss_is_given_labels_and_groups_without_a_model_are_added():
    variant, x, labels = small(ByLabel, (1, 8, 8)), images(230), torch.arange(230) % 7
    expected = float(labels.double().mean()) + 1
    data = EvaluationData(x, labels, x[:0], None, {})
    assert evaluate(variant, data, CONFIG, 0).metrics["objective"] == pytest.approx(expected)
    assert interim(variant, x, labels, None, 230, CONFIG, 0)["objective"] == pytest.approx(expected)
    scores = validation_score(variant, x, 0, by="objective", labels=labels)
    assert scores["validation_negative_objective"] == pytest.approx(-expected)


@pytest.mark.parametrize("count", [7, 100, 230])
def test_the_objective_is_the_loss_per_image_whatever_the_batches(count, space):
    vae, x = model(), images(count)
    # The posterior has almost no variance, so the loss does not depend on the draws.
    vae.encoder[-1].weight.data[4:] = 0
    vae.encoder[-1].bias.data[4:] = -40
    data = EvaluationData(x, None, x, None, {"features": space}, training_images=count)
    expected = vae.loss(Batch(x), torch.tensor(1.0)).value.item()
    found = evaluate(vae, data, CONFIG, 0)
    assert found.metrics["objective"] == pytest.approx(expected, rel=1e-5)
    terms = found.details["objective_terms"]
    assert terms["reconstruction"] + terms["kl"] == pytest.approx(expected, rel=1e-5)
    assert found.details["pixels"] == 64


def test_the_two_bounds_are_the_means_of_their_own_quantities(space):
    x, vae = images(40), model()
    data = EvaluationData(x, None, x[:0], None, {})
    found = evaluate(vae, data, CONFIG, 0).metrics
    context = Context(vae, data, CONFIG, 0)
    for bound in ("elbo", "log_likelihood"):
        assert found[bound] == pytest.approx(float(context.likelihoods[bound].mean()), rel=1e-6)
    assert found["elbo"] < found["log_likelihood"] - 0.01


def test_the_mixture_sampler_is_fitted_to_codes_of_training_images_and_draws_from_the_fit(space, monkeypatch):
    fitted, decoded, vae = [], [], model()

    class Far:
        """A mixture whose draws no prior would give."""

        def sample(self, count):
            return np.full((count, 4), 77.0), None

    monkeypatch.setattr(representation, "fit_mixture", lambda codes, *_: fitted.append(codes) or Far())
    image = vae.image
    monkeypatch.setattr(vae, "image", lambda z, *rest: decoded.append(z) or image(z, *rest))
    data = evaluation_data(digits(), {"features": space})
    evaluate(vae, data, CONFIG, 0)
    with torch.no_grad():
        assert torch.allclose(fitted[0], vae.posterior(data.probe).mean, atol=1e-6)
    assert any((z == 77).all() for z in decoded)


def flat_space(reference):
    """A feature space whose features are the pixels, with the features of ``reference`` (n, channels, height, width).

    Distances in it are those of images, so that a test can compute them by itself."""
    features = reference.flatten(1)
    return quality.FeatureSpace("features", lambda x: x.flatten(1), features, statistics(features), {})


def test_generated_and_reconstructed_images_are_each_compared_with_the_test_images():
    x, vae = images(40), model(observation="gaussian")
    # Samples and reconstructions differ by more than a little.
    vae.encoder[-1].weight.data *= 20
    vae.decoder[-2].weight.data *= 20
    data = EvaluationData(x, None, x[:0], None, {"features": flat_space(x)})
    found = evaluate(vae, data, CONFIG, 0).metrics
    context = Context(vae.eval(), data, CONFIG, 0)
    generated, decoded = (((a * 255).round() / 255).flatten(1) for a in (context.samples, context.reconstructions))
    test = x.flatten(1)
    for name, features in (("fid_features", generated), ("reconstruction_fid_features", decoded)):
        expected = frechet_distance(statistics(features), statistics(test))
        assert found[name] == pytest.approx(expected, rel=1e-6), name
    assert found["fid_features"] != pytest.approx(found["reconstruction_fid_features"], rel=0.01)
    distance = (test - decoded).square().sum(1).sqrt().mean().item() / 8
    assert found["feature_distance"] == pytest.approx(distance, rel=1e-5)


def test_precision_is_of_generated_images_and_recall_of_test_images():
    """The generated images are 40 test images each 20 times, with a little noise: precise, and far from all of them."""
    torch.manual_seed(0)
    x = torch.rand(800, 1, 8, 8)
    few = (x[:40].repeat(20, 1, 1, 1) + 0.01 * torch.rand(800, 1, 8, 8)).clamp(0, 1)
    data = EvaluationData(x, None, x[:0], None, {"features": flat_space(x)})
    context = Context(model(), data, CONFIG, 0)
    context.samples = few
    result = Evaluation()
    sample_quality.compute(context, result)
    assert result.metrics["precision"] > 0.99
    assert result.metrics["recall"] < 0.2
    assert result.metrics["coverage"] < 0.5


@pytest.mark.parametrize("metric", ["knn_accuracy", "linear_probe_accuracy"])
def test_classifiers_learn_from_probe_images_and_are_scored_on_test_images(metric):
    torch.manual_seed(0)
    x, probe = images(30), images(90)
    labels, probe_labels = (part.flatten(1)[:, :32].sum(1) > 16 for part in (x, probe))
    vae = model()
    found = evaluate(vae, EvaluationData(x, labels.long(), probe, probe_labels.long(), {}), CONFIG, 0).metrics[metric]
    measure = getattr(representation, metric)
    with torch.no_grad():
        train, test = vae.represent(probe), vae.represent(x)
    assert found == measure(train, probe_labels.long(), test, labels.long())
    assert found != measure(test, labels.long(), train, probe_labels.long())


def test_a_prior_fixes_the_scale_in_which_units_are_active():
    x = images(50)
    counts = {}
    for name in ("vae", "ae"):
        variant = model(name)
        layer = [module for module in variant.encoder.modules() if isinstance(module, torch.nn.Linear)][-1]
        layer.weight.data *= 1e-3
        counts[name] = evaluate(variant, EvaluationData(x, None, x[:0], None, {}), CONFIG, 0).metrics["active_units"]
    assert counts == {"vae": 0, "ae": 4}


def test_posteriors_without_overlap_tell_which_image_it_was_and_the_rest_of_the_kl_is_the_aggregates():
    x, vae = images(16), model()
    vae.encoder[-1].weight.data[:4] *= 50
    vae.encoder[-1].weight.data[4:] = 0
    vae.encoder[-1].bias.data[4:] = -12
    found = evaluate(vae, EvaluationData(x, None, x[:0], None, {}), CONFIG, 0).metrics
    assert found["mutual_information"] == pytest.approx(math.log(16), abs=1e-4)
    with torch.no_grad():
        kl = kl_divergence(vae.posterior(x), vae.prior()).mean().item()
    assert found["aggregate_kl"] == pytest.approx(kl - math.log(16), abs=2)
    assert found["aggregate_kl"] > 10


def test_samples_of_a_conditional_model_have_the_conditions_of_the_test_images_in_turn():
    cvae, given = model("cvae", condition_shape=(3,)), []
    sampled = cvae.sample
    cvae.sample = lambda count, condition=None: given.append(condition) or sampled(count, condition=condition)
    condition = torch.eye(3)
    data = EvaluationData(images(3), None, images(0), None, {}, condition)
    assert len(Context(cvae, data, replace(CONFIG, generated_images=230), 0).samples) == 230
    assert torch.equal(torch.cat(given), condition.repeat(77, 1)[:230])


def test_a_validation_score_is_of_the_model_in_evaluation_mode():
    class Shifted(Variant):
        def posterior(self, x):
            q = super().posterior(x)
            return DiagonalNormal(q.mean + 5 * self.training, q.log_scale)

    vae, x = small(Shifted, (1, 8, 8)), images(20)
    expected = validation_score(vae.eval(), x, 0)
    assert validation_score(vae.train(), x, 0) == expected


def test_an_autoencoder_is_validated_by_its_negative_squared_error_summed_over_pixels():
    x, ae = images(10), model("ae")
    (score,) = validation_score(ae, x, 0).values()
    with torch.no_grad():
        assert score == pytest.approx(-float((x - ae.reconstruct(x)).square().sum() / 10), rel=1e-5)
    assert score < 0


def test_the_objective_of_test_images_is_that_at_the_end_of_training():
    """A warm-up of the KL term is over by then."""
    x = images(10)
    values = {}
    for warmup in (0.0, 0.5):
        torch.manual_seed(3)
        values[warmup] = mean_objective(model(kl_warmup=warmup), x)
    assert values[0.5] == pytest.approx(values[0.0], rel=1e-6)
