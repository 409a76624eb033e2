"""Errors for a class that does not meet the contract, and what a class may leave out."""

import pytest
import torch

from variants import Loss, ParameterGroup, Variant, VariantConfig, register, registry

from .models import batch, binary_images, small


def test_a_hook_with_the_old_signature_is_refused_with_the_new_one():
    with pytest.raises(
        TypeError, match=r"Old\.regulariser\(q, z, kl, progress, terms\) has .* regulariser\(self, step\)"
    ):

        class Old(Variant):
            def regulariser(self, q, z, kl, progress, terms):
                return kl


def test_a_loss_of_images_is_refused_with_the_signature_that_takes_a_batch():
    with pytest.raises(TypeError, match=r"Old\.loss\(x, progress\) has .* loss\(self, batch, progress\)"):

        class Old(Variant):
            def loss(self, x, progress):
                return Loss(x.mean())


def test_an_unknown_family_is_refused_with_the_nearest_one():
    with pytest.raises(ValueError, match=r"did you mean 'bounds'"):

        class Lost(Variant):
            family = "bound"


def test_an_unknown_key_of_unavailable_is_an_error():
    class Wrong(Variant):
        def unavailable(self):
            return {"density": "which one?"}

    with pytest.raises(ValueError, match=r"unknown Wrong\.unavailable\(\) key 'density'.*posterior_density"):
        small(Wrong)


def test_a_conditional_model_without_a_condition_is_refused():
    class Given(Variant):
        conditional = True

    from variants.parts.networks import MLP
    from variants.parts.observations import observation_model

    with pytest.raises(ValueError, match=r"Given .* set dataset\.condition"):
        Given(VariantConfig(), (1, 4, 4), MLP(), observation_model("bernoulli", (1, 4, 4)))


def test_images_below_the_smallest_side_are_refused():
    with pytest.raises(ValueError, match="DFCVAE needs images of 4 pixels a side or more, got 3"):
        small("dfc_vae", shape=(1, 3, 3))


def test_a_method_that_names_no_condition_can_be_called_with_one():
    class Plain(Variant):
        def posterior(self, x):
            return super().posterior(x)

    model, x = small(Plain), binary_images(3)
    assert torch.equal(model.posterior(x).mean, model.posterior(x, condition=torch.ones(3, 2)).mean)


@pytest.mark.parametrize(
    ("hook", "result", "error"),
    [
        ("prior", lambda self, condition=None: torch.zeros(2), r"prior must return a torch Distribution, got a Tensor"),
        ("posterior", lambda self, x: self.encoder(x).chunk(2, -1), r"posterior must .* Distribution, got a tuple"),
        ("decode", lambda self, z: None, r"decode must return a tensor, got None"),
        ("decode", lambda self, z: z, r"decode must return the shape \(\*samples, batch, 1, 4, 4\), got \(1, 3, 3\)"),
        ("loss", lambda self, batch, progress: batch.images.sum(), r"loss must return a Loss, got a Tensor"),
        (
            "reconstruction",
            lambda self, step: step.z[..., 0].mean(0),
            r"must return the shape \(samples, 3\), got \(3,\)",
        ),
        ("regulariser", lambda self, step: 0.0, r"regulariser must return a tensor, got a float"),
        ("regulariser", lambda self, step: step.z[0], r"must return the shape \(3,\) or \(\), got \(3, 3\)"),
    ],
)
def test_a_result_of_another_type_or_shape_is_an_error_that_names_the_method(hook, result, error):
    kind = type("Mine", (Variant,), {hook: result})
    with pytest.raises((TypeError, ValueError), match=rf"Mine\.{hook} .*{error.removeprefix(hook + ' ')}"):
        small(kind).objective(batch(binary_images(3)), torch.zeros(()))


def test_groups_hold_every_parameter_once():
    class Critic(Variant):
        def build(self, network):
            super().build(network)
            self.critic = torch.nn.Linear(2, 1)

        def parameter_groups(self):
            return self.model_and(critic=ParameterGroup(list(self.critic.parameters())))

    model = small(Critic)
    groups = model.parameter_groups()
    assert {id(p) for p in groups["critic"].parameters} == {id(p) for p in model.critic.parameters()}
    assert len(groups["model"].parameters) + 2 == len(list(model.parameters()))


def test_the_monte_carlo_loss_is_minus_the_mean_of_the_log_weights():
    model, x = small("vae", analytic_kl=False, samples=4, dtype=torch.float64), binary_images(5, dtype=torch.float64)
    torch.manual_seed(3)
    value = model.loss(batch(x), torch.tensor(0.0)).value
    torch.manual_seed(3)
    assert value.item() == pytest.approx(-model.log_weights(x, model.posterior(x), 4).value.mean().item(), rel=1e-12)


def test_a_model_that_forms_its_own_log_weights_is_trained_by_them():
    """A model with several levels would otherwise be trained with the closed-form KL of its first level alone."""

    class Shifted(Variant):
        def log_weights(self, x, q, samples):
            weights = super().log_weights(x, q, samples)
            return weights._replace(log_prior=weights.log_prior - 7)

    model, x = small(Shifted, dtype=torch.float64), binary_images(5, dtype=torch.float64)
    torch.manual_seed(3)
    value = model.loss(batch(x), torch.tensor(0.0)).value
    torch.manual_seed(3)
    weights = Variant.log_weights(model, x, model.posterior(x), 1)
    assert value.item() == pytest.approx(7 - weights.value.mean().item(), rel=1e-12)


def test_a_model_with_its_own_log_weights_says_how_it_is_sampled(monkeypatch):
    """The base class would decode draws of the top level as those of the lowest."""
    monkeypatch.setattr(registry, "_variants", {})

    class Levels(Variant):
        def log_weights(self, x, q, samples):
            return super().log_weights(x, q, samples)

    with pytest.raises(
        TypeError, match=r"Levels overrides log_weights and must override sample_latent\(count\)"
    ) as error:
        register("levels")(Levels)
    assert "\n" not in str(error.value)

    class Sampled(Levels):
        def sample_latent(self, count):
            return self.prior().sample((count,))

    assert register("levels")(Sampled).name == "levels"
