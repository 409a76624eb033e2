"""Every log-density is normalised, and every closed form agrees with another computation."""

import math

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from variants.parts.distributions import (
    Categoricals,
    CodePoint,
    Concatenated,
    DiagonalNormal,
    PointMass,
    StandardNormal,
    draw,
    has_closed_form_kl,
)

LOC = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
LOG_SCALE = 0.3 * torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def test_the_diagonal_normal_is_torchs():
    q, reference = DiagonalNormal(LOC, LOG_SCALE), Independent(Normal(LOC, LOG_SCALE.exp()), 1)
    z, log_q = q.rsample_with_log_prob((7,))
    assert torch.allclose(log_q, reference.log_prob(z))
    assert torch.allclose(q.log_prob(z), reference.log_prob(z))
    assert torch.allclose(q.variance, reference.variance)


def test_the_closed_kl_is_torchs_and_the_mean_of_draws():
    q, p = DiagonalNormal(LOC, LOG_SCALE), StandardNormal(3, like=LOC)
    reference = kl_divergence(
        Independent(Normal(LOC, LOG_SCALE.exp()), 1),
        Independent(Normal(torch.zeros_like(LOC), torch.ones_like(LOC)), 1),
    )
    assert has_closed_form_kl(q, p)
    assert torch.allclose(kl_divergence(q, p), reference)
    z, log_q = q.rsample_with_log_prob((200_000,))
    assert torch.allclose((log_q - p.log_prob(z)).mean(0), reference, atol=0.03)


def test_categoricals_sum_to_one_and_draw_with_their_probabilities():
    q = Categoricals(torch.randn(2, 3, dtype=torch.float64))
    eye = torch.eye(3, dtype=torch.float64)
    values = torch.stack([torch.cat([eye[i], eye[j]]) for i in range(3) for j in range(3)])
    assert q.log_prob(values).exp().sum() == pytest.approx(1)
    draws = q.sample((100_000,))
    assert set(draws.unique().tolist()) == {0.0, 1.0}
    assert torch.allclose(draws.mean(0), q.mean, atol=0.01)


def test_the_categorical_kl_is_the_enumerated_one():
    q = Categoricals(torch.randn(4, 2, 3, dtype=torch.float64))
    p = Categoricals(torch.zeros(2, 3, dtype=torch.float64))
    probabilities = q.mean.unflatten(-1, (2, 3))
    expected = (probabilities * (probabilities * 3).log()).sum((-1, -2))
    assert torch.allclose(kl_divergence(q, p), expected)
    assert kl_divergence(Categoricals(torch.zeros(2, 3)), Categoricals(torch.zeros(2, 3))) == 0


def test_the_straight_through_value_is_one_hot_and_its_gradient_the_relaxed_ones():
    logits = torch.randn(6, 2, 3, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(6, 6, dtype=torch.float64)

    def gradient(straight_through):
        torch.manual_seed(4)
        y = Categoricals(logits).relaxed_sample(torch.tensor(0.7), straight_through)
        return y, torch.autograd.grad((y * weights).sum(), logits)[0]

    (soft, expected), (hard, found) = gradient(False), gradient(True)
    assert torch.allclose(found, expected)
    assert torch.allclose(hard, Categoricals(soft.detach().unflatten(-1, (2, 3)).log()).mode)


def test_relaxed_draws_approach_hard_ones_as_the_temperature_falls():
    q = Categoricals(torch.randn(1000, 2, 3))
    assert q.relaxed_sample(torch.tensor(0.01), False).unflatten(-1, (2, 3)).amax(-1).mean() > 0.98
    assert q.relaxed_sample(torch.tensor(10.0), False).unflatten(-1, (2, 3)).amax(-1).mean() < 0.6


@pytest.mark.parametrize("straight_through", [False, True])
def test_the_largest_number_of_a_relaxed_draw_is_a_draw_of_the_categories(straight_through):
    """The Gumbel-max trick, which needs the noise and its sign: with two categories the sign would not matter."""
    torch.manual_seed(0)
    q = Categoricals(torch.tensor([[2.0, 0.0, -1.0]]))
    draws = q.relaxed_sample(torch.tensor(0.5), straight_through, torch.Size([100_000]))
    found = torch.bincount(draws.argmax(-1), minlength=3) / 100_000
    # Five standard errors are at most 0.008; the wrong sign moves the last frequency from 0.042 to 0.022.
    assert torch.allclose(found, q.mean, atol=0.008)


def test_the_closed_kl_of_two_diagonal_normals_is_torchs():
    q, p = DiagonalNormal(LOC, LOG_SCALE), DiagonalNormal(LOC.flip(0) / 2, LOG_SCALE.flip(0) - 0.2)
    of_torch = [Independent(Normal(one.loc, one.log_scale.exp()), 1) for one in (q, p)]
    assert torch.allclose(kl_divergence(q, p), kl_divergence(*of_torch), rtol=1e-10)


def test_concatenated_parts_are_independent():
    normal, category = DiagonalNormal(LOC, LOG_SCALE), Categoricals(torch.randn(5, 1, 4, dtype=torch.float64))
    q = Concatenated(normal, category)
    z = q.sample((6,))
    assert z.shape == (6, 5, 7)
    assert torch.allclose(q.log_prob(z), normal.log_prob(z[..., :3]) + category.log_prob(z[..., 3:]))


def test_point_masses_draw_their_value_and_a_code_has_probability_one():
    assert torch.equal(PointMass(LOC).rsample((2,))[1], LOC)
    q = CodePoint(torch.tensor([[1, 2], [3, 4]]))
    z, log_q = draw(q, (3,))
    assert torch.equal(z, q.codes.expand(3, 2, 2))
    assert (log_q == 0).all()
    assert q.log_prob(torch.tensor([[1, 2], [0, 4]])).tolist() == [0, -math.inf]


def test_pairwise_densities_are_those_of_the_loop_over_all_pairs():
    normal = DiagonalNormal(LOC, LOG_SCALE)
    categories = Categoricals(torch.randn(5, 2, 3, dtype=torch.float64))
    for q in (normal, categories, Concatenated(normal, categories)):
        z = q.sample((4,)).flatten(0, 1)
        naive = torch.stack([q.log_prob(one.expand(5, -1)) for one in z])
        assert q.has_pairwise_log_prob
        assert torch.allclose(q.pairwise_log_prob(z), naive, rtol=1e-12)
    assert not Concatenated(normal, PointMass(LOC)).has_pairwise_log_prob


def test_pairwise_densities_of_narrow_normals_in_single_precision_do_not_cancel():
    loc = 5 + torch.randn(6, 3)
    q = DiagonalNormal(loc, torch.full_like(loc, -7))
    z = q.sample()
    exact = DiagonalNormal(loc.double(), q.log_scale.double()).log_prob(z.double())
    assert torch.allclose(q.pairwise_log_prob(z).diagonal(), exact, rtol=1e-6)
