"""Tests of the training loop: budgets in steps, milestones, measurements during training, and early stopping."""

import itertools

import pytest
import torch

from benchmarks.config import TrainingConfig, compose
from benchmarks.errors import UserError
from benchmarks.sweep.cell import build
from benchmarks.training.budget import budget_of
from benchmarks.training.checkpoint import Checkpoints
from benchmarks.training.loop import train

from ..cells import checkpoints, configuration, digits, run

# With 1297 training images, an epoch has five steps: four batches of 300 images and one of 97.
BATCH = 300


def trained(config, validate=None, measure=None, folder=None, watched=None):
    """The weights of a small model after training, and the progress that training returns."""
    model = build(configuration(), (1, 8, 8))
    if watched is not None:
        loss = model.loss

        def noting(batch, progress):
            watched.append((len(batch.images), progress.item()))
            return loss(batch, progress)

        model.loss = noting
    kept = None if folder is None else checkpoints(folder)
    images, dataset = digits().train.images, configuration().dataset
    done = train(model, images, dataset, config, 0, validate, kept, False, measure=measure)
    return model.state_dict(), done


def equal(first, second):
    return all(torch.equal(first[key], second[key]) for key in first)


def noisy(model):
    """The sum of the model's weights, and a random draw, which must not change the random numbers of training."""
    total = sum(float(tensor.double().sum()) for tensor in model.state_dict().values())
    return {"drawn": float(torch.rand(())), "weights": total}


@pytest.mark.parametrize(("steps", "last"), [(1, [300]), (4, [300] * 4), (5, [300] * 4 + [97]), (7, [300, 300])])
def test_a_budget_in_steps_trains_exactly_so_many_and_progress_runs_over_them(steps, last):
    seen = []
    _, done = trained(TrainingConfig(steps=steps, batch_size=BATCH, epochs=100), watched=seen)
    assert len(seen) == steps == done.step
    assert [count for count, _ in seen][-len(last) :] == last
    assert [progress for _, progress in seen] == pytest.approx(torch.linspace(0, 1, steps).tolist())
    assert done.images == sum(count for count, _ in seen)
    assert [row["epoch"] for row in done.history] == list(range(1, -(-steps // 5) + 1))
    assert done.history[-1]["progress"] == 1
    rates = [row["images_per_second"] * row["seconds"] for row in done.history]
    assert sum(rates) == pytest.approx(done.images)


def test_a_budget_of_as_many_steps_is_that_of_the_epochs_to_the_last_bit():
    by_epochs, _ = trained(TrainingConfig(epochs=2, batch_size=BATCH, schedule="cosine", warmup=0.3))
    by_steps, _ = trained(TrainingConfig(steps=10, batch_size=BATCH, schedule="cosine", warmup=0.3))
    assert equal(by_epochs, by_steps)


def test_the_rate_falls_at_the_first_step_after_each_milestone():
    config = TrainingConfig(epochs=7, batch_size=BATCH, schedule="multi_step", milestones=[2, 3, 6], gamma=0.5)
    _, done = trained(config)
    rates = [row["learning_rate"] / config.learning_rate for row in done.history]
    assert rates == [1, 1, 0.5, 0.25, 0.25, 0.25, 0.125]
    # For every budget, the milestone as a fraction of the budget is exactly the progress of its step.
    for epochs, batch in itertools.product((7, 49, 500, 3280), (20, 37, 300)):
        budget = budget_of(TrainingConfig(epochs=epochs, batch_size=batch, milestones=[3], schedule="multi_step"), 1297)
        step = 3 * budget.steps_per_epoch
        assert step / budget.steps == budget.milestones[0] > (step - 1) / budget.steps


@pytest.mark.parametrize("killed_after", [1, 2])
def test_a_run_in_steps_that_is_killed_ends_with_the_same_weights_and_numbers(tmp_path, monkeypatch, killed_after):
    monkeypatch.setenv("VAE_CHECKPOINT_SECONDS", "0")
    config = TrainingConfig(
        steps=12, batch_size=BATCH, optimiser="rmsprop", centred=True, momentum=0.5, learning_rate=1e-4,
        measure_at=[0, 2, 7, 12], validate_every_steps=3, select="validation",
    )  # fmt: skip
    whole, done = trained(config, noisy, noisy, tmp_path / "whole")
    save = Checkpoints.save

    def save_then_die(self, model, optimisers, best, state):
        save(self, model, optimisers, best, state)
        if state.epoch == killed_after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", save_then_die)
        with pytest.raises(KeyboardInterrupt):
            trained(config, noisy, noisy, tmp_path / "killed")
    again, resumed = trained(config, noisy, noisy, tmp_path / "killed")
    assert resumed.resumed == [killed_after]
    assert equal(whole, again)
    assert resumed.measured == done.measured
    assert {name.partition("@")[2] for name in done.measured} == {"0", "2", "7", "12"}
    assert (resumed.best_step, resumed.no_better, resumed.step) == (done.best_step, done.no_better, 12)


@pytest.mark.parametrize("name", ["rmsprop", "adagrad", "sgd"])
def test_optimisers_with_a_state_of_their_own_resume(tmp_path, monkeypatch, name):
    monkeypatch.setenv("VAE_CHECKPOINT_SECONDS", "0")
    options = {"rmsprop": {"centred": True, "momentum": 0.9}, "sgd": {"momentum": 0.9}}.get(name, {})
    config = TrainingConfig(epochs=3, batch_size=BATCH, optimiser=name, learning_rate=1e-4, **options)
    whole, _ = trained(config, folder=tmp_path)
    (tmp_path / "checkpoint-000003.safetensors").unlink()
    again, done = trained(config, folder=tmp_path)
    assert done.resumed == [2]
    assert equal(whole, again)


def test_measuring_and_validating_within_an_epoch_change_no_weight():
    plain, _ = trained(TrainingConfig(steps=12, batch_size=BATCH))
    config = TrainingConfig(steps=12, batch_size=BATCH, measure_at=[0, 2, 5, 7], validate_every_steps=3)
    looked_at, done = trained(config, noisy, noisy)
    assert equal(plain, looked_at)
    # An epoch has five steps. Validations: after step 3 in epoch 1, steps 6 and 9 in epoch 2, step 12 in epoch 3.
    assert ["weights" in row for row in done.history] == [True, True, True]


def test_a_number_on_the_way_is_of_the_weights_of_that_step():
    config = TrainingConfig(steps=12, batch_size=BATCH, measure_at=[0, 7])
    _, done = trained(config, measure=noisy)
    ends, _ = trained(TrainingConfig(steps=7, batch_size=BATCH))
    assert done.measured["weights@7"] == sum(float(value.double().sum()) for value in ends.values())
    start = build(configuration(), (1, 8, 8)).state_dict()
    assert done.measured["weights@0"] == sum(float(value.double().sum()) for value in start.values())


def test_numbers_at_an_epochs_end_have_the_means_of_its_training_and_the_validation():
    config = TrainingConfig(epochs=3, batch_size=BATCH, measure_at=[0, 2], validate_every=3)
    _, done = trained(config, lambda model: {"validation_elbo": -1.0}, noisy)
    assert done.measured["training_reconstruction@2"] == done.history[1]["reconstruction"]
    assert done.measured["validation_elbo@2"] == -1
    assert "training_reconstruction@0" not in done.measured
    # Measuring at epoch 2 does not add a validation to the history, which has one every third epoch.
    assert ["validation_elbo" in row for row in done.history] == [False, False, True]


def test_what_is_measured_at_a_point_is_what_a_run_that_ends_there_records(tmp_path):
    small = ["training.validation_samples=10", "training.batch_size=100"]
    longer = run(tmp_path / "a", "vae", 0, *small, "training.epochs=3", "training.measure_at=[0,2,3]")
    shorter = run(tmp_path / "b", "vae", 0, *small, "training.epochs=2")
    measured = longer.details["measured"]
    for metric in ("objective", "elbo", "elbo_se", "log_likelihood", "kl"):
        assert measured[f"{metric}@2"] == shorter.metrics[metric], metric
        assert measured[f"{metric}@3"] == longer.metrics[metric] != measured[f"{metric}@0"], metric
    assert measured["validation_elbo@2"] != measured["elbo@2"]
    # With a budget in steps: 26 steps are two epochs.
    steps = run(tmp_path / "c", "vae", 0, *small, "training.steps=30", "training.measure_at=[26]")
    assert steps.details["measured"]["objective@26"] == shorter.metrics["objective"]
    assert shorter.details.keys() == longer.details.keys() - {"measured"}


def test_an_observation_model_that_is_fitted_after_training_is_fitted_for_a_point_and_put_back(tmp_path):
    grey = ["dataset.observation=discretised_logistic", "dataset.binarise=none", "training.validation_samples=10"]
    longer = run(tmp_path / "a", "logcosh_vae", 0, *grey, "training.epochs=3", "training.measure_at=[2,3]")
    shorter = run(tmp_path / "b", "logcosh_vae", 0, *grey, "training.epochs=2")
    assert longer.details["measured"]["elbo@2"] == shorter.metrics["elbo"]
    assert longer.details["measured"]["elbo@3"] == longer.metrics["elbo"]


def scored(*scores):
    given = iter(scores)
    return lambda model: {"score": next(given)} | noisy(model)


@pytest.mark.parametrize(
    ("every", "scores", "stops_after", "best"),
    [
        # Validation after every epoch (of five steps), after every second epoch, and every three steps, within epochs.
        ({}, [1, 3, 2, 2.5], 4, 2),
        ({"validate_every": 2}, [1, 3, 2, 2.5], 8, 4),
        ({"validate_every_steps": 3}, [1, 3, 2, 2.5], 12, 6),
        ({"validate_every_steps": 3}, [1, 2, 3, 4, 5, 4, 4.5], 21, 15),
    ],
)
def test_training_stops_after_so_many_validations_without_a_better_one_with_the_best_weights(
    every, scores, stops_after, best
):
    budget = {"steps": 100} if "validate_every_steps" in every else {"epochs": 20}
    config = TrainingConfig(batch_size=BATCH, select="validation", patience=2, **budget, **every)
    weights, done = trained(config, scored(*scores))
    unit = 1 if "validate_every_steps" in every else 5
    assert (done.step, done.best_step) == (unit * stops_after, unit * best)
    shorter, _ = trained(TrainingConfig(steps=unit * best, batch_size=BATCH))
    assert equal(weights, shorter)


def test_a_run_that_ran_out_of_patience_within_an_epoch_stays_ended_when_it_is_started_again(tmp_path):
    config = TrainingConfig(steps=100, batch_size=BATCH, select="validation", patience=2, validate_every_steps=2)
    first, done = trained(config, scored(3, 2, 1), folder=tmp_path)
    again, resumed = trained(config, scored(), folder=tmp_path)
    assert done.step == resumed.step == 6
    assert equal(first, again)


def test_selection_by_the_objective_takes_the_epoch_of_the_lowest_loss(tmp_path):
    options = ["training.select=validation", "training.select_by=objective", "training.epochs=3", "variant.beta=30"]
    config = compose("beta_vae", "digits", "smoke", 0, options)
    record = run(tmp_path, "beta_vae", 0, *options)
    (history,) = tmp_path.glob("runs/*/history.csv")
    header, *rows = [line.split(",") for line in history.read_text().splitlines()]
    losses = [-float(row[header.index("validation_negative_objective")]) for row in rows]
    assert record.details["selected_step"] == 13 * (losses.index(min(losses)) + 1)
    # The validation loss r + 30 KL is larger than -ELBO, which the history also contains.
    elbos = [float(row[header.index("validation_elbo")]) for row in rows]
    assert all(loss > -elbo for loss, elbo in zip(losses, elbos, strict=True))
    assert config.training.select_by == "objective"


def test_functions_that_the_configuration_needs_are_asked_for():
    for option, config in {
        "measure": TrainingConfig(measure_at=[1]), "validate": TrainingConfig(select="validation"),
    }.items():  # fmt: skip
        with pytest.raises(UserError, match=f"the argument {option}$"):
            trained(config)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["steps=0"], "training.steps must be above 0, got 0"),
        (["epochs=3", "steps=5"], "training.epochs=3 has no effect beside training.steps=5, which replaces it"),
        (["validate_every_steps=-1"], "training.validate_every_steps must be above 0, got -1"),
        (["validate_every_steps=5", "validate_every=2"], "training.validate_every must stay 1, got 2"),
        (["schedule=multi_step"], "training.schedule=multi_step needs training.milestones, such as [200,350]"),
        (["milestones=[3]"], "training.milestones must stay None, got [3]: it belongs to training.schedule=multi_step"),
        (["gamma=0.5"], "training.gamma must stay 0.1, got 0.5: it belongs to training.schedule=multi_step"),
        (["schedule=multi_step", "milestones=[3,3]"], "training.milestones must be increasing whole numbers from 1"),
        (["schedule=multi_step", "milestones=[0,3]"], "training.milestones must be increasing whole numbers from 1"),
        (["schedule=multi_step", "milestones=[]"], "training.milestones must be increasing whole numbers from 1"),
        (["schedule=multi_step", "milestones=[3]", "gamma=0"], "training.gamma must be above 0, got 0"),
        (
            ["schedule=multi_step", "milestones=[1,2]"],
            "training.milestones must be below training.epochs=2, got [1, 2]",
        ),
        (["validate_every=3"], "training.validate_every must be at most training.epochs=2, got 3"),
        (
            ["steps=10", "validate_every_steps=11"],
            "training.validate_every_steps must be at most training.steps=10, got 11",
        ),
        (["schedule=multistep"], "unknown training.schedule 'multistep'; did you mean 'multi_step'?"),
        (["measure_at=[-1]"], "training.measure_at must be increasing whole numbers from 0"),
        (["measure_at=[1.5]"], "training.measure_at must be a list of whole numbers"),
        (["measure_at=[1,5]"], "training.measure_at must end by training.epochs=2, got [1, 5]"),
        (["measure_at=[1,5]", "steps=4"], "training.measure_at must end by training.steps=4, got [1, 5]"),
        (["select_by=objective"], "training.select_by must stay elbo, got objective"),
        (["select=validation", "select_by=loss"], "unknown training.select_by 'loss'"),
        (["patience=3"], "training.patience needs training.select=validation"),
        (["optimiser=sgd", "momentum=1"], "training.momentum must be below 1"),
        (["optimiser=rmsprop", "smoothing=1"], "training.smoothing must be below 1"),
        (["optimiser=rmsprob"], "unknown training.optimiser 'rmsprob'; did you mean 'rmsprop'?"),
    ],
)
def test_what_cannot_be_or_would_have_no_effect_is_refused_in_one_line_when_composed(overrides, message):
    with pytest.raises(UserError) as refused:
        compose("vae", "digits", "smoke", 0, [f"training.{override}" for override in overrides])
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_precision_of_inception_is_refused_where_it_is_off():
    with pytest.raises(
        UserError, match=r"evaluation\.inception_precision must stay fp32, got bf16: evaluation\.inception"
    ):
        compose("vae", "digits", "smoke", 0, ["evaluation.inception_precision=bf16"])
    compose("vae", "digits", "smoke", 0, ["evaluation.inception_precision=bf16", "evaluation.inception=true"])
    # The number of epochs of a budget in steps depends on the number of images, so this cannot be checked.
    compose("vae", "digits", "smoke", 0, ["training.steps=100", "training.validate_every=3"])


def test_options_at_their_defaults_are_not_in_the_run_id_and_others_are():
    plain = compose("vae", "digits", "smoke", 0)
    assert not plain.resolved()["training"].keys() & {"steps", "measure_at", "momentum", "gamma", "select_by"}
    assert compose("vae", "digits", "smoke", 0, ["training.measure_at=[1]"]).run_id != plain.run_id
    assert compose("vae", "digits", "smoke", 0, ["training.measure_at=null"]).run_id == plain.run_id


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"steps": 12, "schedule": "multi_step", "milestones": [1, 3]},
            r"milestones must be below the 2\.4 epochs of the budget .12 steps., got [[]1, 3]",
        ),
        (
            {"steps": 10, "schedule": "multi_step", "milestones": [2]},
            r"must be below the 2 epochs of the budget .10 steps., got [[]2]",
        ),
        (
            {"steps": 12, "validate_every": 3},
            r"validate_every must be at most the 2\.4 epochs of the budget .12 steps., got 3",
        ),
        (
            {"epochs": 2, "validate_every_steps": 11},
            "validate_every_steps must be at most the 10 steps of the budget, got 11",
        ),
    ],
)
def test_points_outside_a_budget_in_the_other_unit_are_refused_before_the_first_step(options, message):
    with pytest.raises(UserError, match=message):
        trained(TrainingConfig(batch_size=BATCH, **options), validate=noisy)


def test_points_at_the_end_of_a_budget_in_the_other_unit_are_accepted():
    for options in ({"steps": 11, "milestones": [2], "schedule": "multi_step"}, {"steps": 15, "validate_every": 3},
                    {"epochs": 2, "validate_every_steps": 10}, {"steps": 1}):  # fmt: skip
        trained(TrainingConfig(batch_size=BATCH, **options))
