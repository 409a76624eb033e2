"""beta-TCVAE: the minibatch estimators of q(z), and the three terms that they give."""

import math

import pytest
import torch

import variants
from variants.beta_tcvae import decompose, pairwise_log_densities, stratified, weighted
from variants.parts.distributions import DiagonalNormal, StandardNormal

from .models import batch, binary_images, small

NOW = torch.tensor(0.5, dtype=torch.float64)


def test_stratified_weights_by_hand():
    # N = 10, B = 3, M = 2: 1/10 for the image itself, 8/20 for the next, 1/2 for the rest.
    expected = torch.tensor([[0.1, 0.4, 0.5], [0.5, 0.1, 0.4], [0.4, 0.5, 0.1]], dtype=torch.float64)
    assert torch.allclose(stratified(3, 10), expected, rtol=1e-15)
    # N = 5, B = 2, M = 1: no image is left for the weight 1/M.
    assert torch.allclose(stratified(2, 5), torch.tensor([[0.2, 0.8], [0.8, 0.2]], dtype=torch.float64), rtol=1e-15)


@pytest.mark.parametrize(("count", "training_images"), [(1, 7), (2, 2), (3, 3), (4, 9), (7, 1000)])
def test_stratified_rows_sum_to_one_and_hold_one_nth_for_their_own_image(count, training_images):
    weights = stratified(count, training_images)
    assert torch.allclose(weights.sum(1), torch.ones(count, dtype=torch.float64), rtol=1e-14)
    if count > 1:
        assert torch.allclose(weights.diagonal(), torch.full((count,), 1 / training_images, dtype=torch.float64))


def test_weighted_entries_are_one_over_n_and_the_batch():
    assert torch.equal(weighted(4, 10), torch.full((4, 4), 1 / 40, dtype=torch.float64))


def posteriors(count=5, latent=3, samples=2):
    q = DiagonalNormal(torch.randn(count, latent).double(), 0.3 * torch.randn(count, latent).double())
    return q, q.rsample((samples,))


def aggregate(q, z):
    """log q(z) and sum_d log q(z_d) of the exact aggregate posterior of all images, by torch's mixtures."""
    uniform = torch.distributions.Categorical(torch.ones(q.loc.shape[0], dtype=torch.float64))
    normal = torch.distributions.Normal(q.loc, q.log_scale.exp())
    joint = torch.distributions.MixtureSameFamily(uniform, torch.distributions.Independent(normal, 1))
    by_dimension = [
        torch.distributions.MixtureSameFamily(
            uniform, torch.distributions.Normal(q.loc[:, d], q.log_scale[:, d].exp())
        ).log_prob(z[..., d])
        for d in range(q.loc.shape[1])
    ]
    return joint.log_prob(z), torch.stack(by_dimension).sum(0)


def terms(q, z, weights):
    log_p = StandardNormal(z.shape[-1], like=z).log_prob(z)
    return decompose(q.log_prob(z), log_p, pairwise_log_densities(q, z), weights)


def test_weighted_minibatches_of_the_whole_data_set_are_the_exact_aggregate_over_n():
    q, z = posteriors()
    joint, by_dimension = aggregate(q, z)
    latent, shift = z.shape[-1], math.log(5)
    found = terms(q, z, weighted(5, 5))
    assert torch.allclose(q.log_prob(z) - found.mutual_information, joint - shift, rtol=1e-12)
    assert torch.allclose(
        found.total_correlation, (joint - shift) - (by_dimension - latent * shift), rtol=1e-12, atol=1e-12
    )


def test_stratified_minibatches_of_the_whole_data_set_are_in_the_mean_the_exact_aggregate():
    """The next image in the batch has a special weight. Over the orders used here, each other image is next once."""
    q, z = posteriors()
    joint, _ = aggregate(q, z)
    pairwise, found = pairwise_log_densities(q, z).sum(-1), []
    for step in range(1, 5):
        # Order the batch so that the next image is the one ``step`` further.
        order = [step * i % 5 for i in range(5)]
        weights = torch.empty(5, 5, dtype=torch.float64)
        weights[torch.tensor(order)[:, None], torch.tensor(order)] = stratified(5, 5)
        found.append((weights * pairwise.exp()).sum(-1))
    assert torch.allclose(torch.stack(found).mean(0).log(), joint, rtol=1e-12)


@pytest.mark.parametrize("make", [weighted, stratified])
def test_the_three_terms_sum_to_the_log_ratio_on_every_draw(make):
    q, z = posteriors()
    expected = q.log_prob(z) - StandardNormal(3, like=z).log_prob(z)
    assert torch.allclose(sum(terms(q, z, make(5, 40))), expected, rtol=1e-11, atol=1e-11)


def test_with_one_dimension_there_is_no_total_correlation():
    """This also holds if weights do not sum to 1: a weight is added once per pair, not once per dimension."""
    q, z = posteriors(latent=1)
    for make in (weighted, stratified):
        assert terms(q, z, make(5, 40)).total_correlation.abs().max() < 1e-12


def test_a_pairs_weight_is_added_once_to_its_joint_density():
    q, z = posteriors()
    for make in (weighted, stratified):
        weights = make(5, 40)
        log_q = torch.stack([
            (weights[i] * pairwise_log_densities(q, z)[:, i].sum(-1).exp()).sum(-1).log() for i in range(5)
        ], 1)  # fmt: skip
        assert torch.allclose(q.log_prob(z) - terms(q, z, weights).mutual_information, log_q, rtol=1e-12)


@pytest.mark.parametrize("sampling", ["weighted", "stratified"])
def test_with_all_weights_one_it_is_the_vae_without_the_closed_kl(sampling):
    x = binary_images(6, dtype=torch.float64)
    vae = small("vae", dtype=torch.float64, analytic_kl=False)
    other = small("beta_tcvae", dtype=torch.float64, beta=1.0, sampling=sampling)
    other.load_state_dict(vae.state_dict())
    values, gradients = [], []
    for model in (vae, other):
        torch.manual_seed(11)
        value = model.loss(batch(x), NOW).value
        values.append(value.item())
        gradients.append(torch.autograd.grad(value, list(model.parameters())))
    assert values[1] == pytest.approx(values[0], rel=1e-12)
    for expected, found in zip(*gradients, strict=True):
        assert torch.allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_each_weight_weighs_its_own_term():
    x = binary_images(6, dtype=torch.float64)
    model = small("beta_tcvae", dtype=torch.float64, alpha=2.0, beta=3.0, gamma=5.0, samples=4)
    loss, found = model.loss(batch(x), NOW)
    expected = (
        found["reconstruction"].mean()
        + 2 * found["mutual_information"] + 3 * found["total_correlation"] + 5 * found["dimension_kl"]
    )  # fmt: skip
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)


def test_the_number_of_training_images_reaches_the_estimate():
    x = binary_images(6, dtype=torch.float64)
    model = small("beta_tcvae", dtype=torch.float64)

    def mutual_information(count):
        torch.manual_seed(3)
        return model.loss(batch(x, count), NOW).terms["mutual_information"].item()

    assert mutual_information(600) - mutual_information(6) == pytest.approx(math.log(100), rel=1e-9)
    with pytest.raises(ValueError, match="number of training images, at least 6, got 5"):
        mutual_information(5)


def test_a_last_batch_of_one_image_has_a_finite_loss():
    for sampling in ("weighted", "stratified"):
        assert small("beta_tcvae", sampling=sampling).loss(batch(binary_images(1)), NOW.float()).value.isfinite()


@pytest.mark.parametrize("weights", [{"alpha": 0.0}, {"beta": 0.0}, {"gamma": 0.0}])
def test_a_weight_of_zero_is_allowed_and_one_below_refused(weights):
    ((name, value),) = weights.items()
    assert small("beta_tcvae", **weights).loss(batch(binary_images(4)), NOW.float()).value.isfinite()
    with pytest.raises(ValueError, match=rf"variant\.{name} must be 0 or above, got -0.1"):
        variants.lookup("beta_tcvae").Config(**{name: value - 0.1})


def test_an_unknown_estimator_is_refused_with_the_nearest_one():
    with pytest.raises(ValueError, match="did you mean 'stratified'"):
        variants.lookup("beta_tcvae").Config(sampling="stratify")
