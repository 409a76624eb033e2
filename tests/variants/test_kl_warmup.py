"""KL warm-up: the weight of the KL depends on progress alone, ends at 1, and needs a loss with a plain KL."""

import pytest
import torch

import variants
from benchmarks.config import compose
from benchmarks.errors import UserError
from variants import Variant

from .models import batch, binary_images, small, smallest_shape

REFUSED = r"^variant\.kl_warmup must stay 0, got 0\.5: the loss of \w+ is not r \+ KL$"


def refuses(name):
    cls = variants.lookup(name)
    return cls.loss is not Variant.loss or cls.regulariser is not Variant.regulariser


@pytest.mark.parametrize("analytic", [True, False])
def test_the_weight_of_the_kl_rises_linearly_to_one_and_stays(analytic):
    model = small("vae", kl_warmup=0.25, analytic_kl=analytic)
    for progress, weight in ((0.0, 0.0), (0.1, 0.4), (0.25, 1.0), (0.7, 1.0), (1.0, 1.0)):
        loss = model.loss(batch(binary_images(6)), torch.tensor(progress))
        expected = loss.terms["reconstruction"] + weight * loss.terms["kl"]
        assert loss.value.item() == pytest.approx(expected.mean().item(), rel=1e-6), progress


@pytest.mark.parametrize("name", [name for name in variants.names() if not refuses(name)])
def test_at_the_end_of_training_the_objective_is_that_without_a_warm_up(name):
    shape = smallest_shape(variants.lookup(name))

    def losses(progress, **options):
        torch.manual_seed(0)
        model = small(name, **options)
        return model.loss(batch(binary_images(5, shape)), torch.tensor(progress)).value

    assert torch.equal(losses(1.0, kl_warmup=0.3), losses(1.0))
    assert losses(0.1, kl_warmup=0.3) != losses(0.1)


@pytest.mark.parametrize("name", [name for name in variants.names() if refuses(name)])
def test_a_variant_whose_loss_is_not_that_of_the_elbo_refuses_it(name):
    with pytest.raises(UserError, match=REFUSED):
        compose(name, "digits", "smoke", 0, ["variant.kl_warmup=0.5"])


def test_a_fraction_beyond_the_budget_is_refused():
    with pytest.raises(UserError, match=r"variant\.kl_warmup must be between 0 and 1, got 100"):
        compose("vae", "digits", "smoke", 0, ["variant.kl_warmup=100"])


def test_the_annealing_of_a_flow_is_the_papers_in_any_budget():
    """``annealing`` = 9,900 / n gives the weight min(1, 0.01 + t / 10,000) after t of n steps."""
    n = 50_000
    model = small("flow_vae", steps=2, annealing=9_900 / n)
    for t in (0, 100, 5_000, 9_899, 9_900, 20_000, n):
        torch.manual_seed(1)
        loss = model.loss(batch(binary_images(6)), torch.tensor(t / n))
        torch.manual_seed(1)
        whole = model.loss(batch(binary_images(6)), torch.tensor(1.0))
        # loss = E[log q - B log p(x, z)], so annealing adds (1 - B) log p(x, z) to the loss.
        joint = log_joint(model)
        B = min(1, 0.01 + t / 10_000)
        assert (loss.value - whole.value).item() == pytest.approx((1 - B) * joint, rel=1e-3, abs=1e-4)


def log_joint(model):
    torch.manual_seed(1)
    x = binary_images(6)
    weights = model.log_weights(x, model.posterior(x), 1)
    return (weights.log_likelihood + weights.log_prior).mean().item()
