"""The training loop: it is reproducible, also after interruptions, and trains all variants in the same way."""

import math

import pytest
import torch

from benchmarks.config import TrainingConfig
from benchmarks.sweep.cell import build
from benchmarks.training import loop as training
from benchmarks.training.checkpoint import Checkpoints
from benchmarks.training.loop import DivergenceError, tensor_float_32, train
from benchmarks.training.schedules import learning_rate_factor

from ..cells import checkpoints, configuration, digits, run

VOLATILE = ("seconds", "images_per_second")


def metrics(record):
    assert record.status == "ok", record.error
    return record.metrics


@pytest.mark.parametrize("variant", ["vae", "vq_vae", "gumbel_vae"])
def test_the_same_cell_twice_gives_the_same_metrics_to_the_last_digit(tmp_path, variant):
    assert metrics(run(tmp_path / "a", variant)) == metrics(run(tmp_path / "b", variant))


def test_another_seed_gives_other_initial_weights_and_metrics(tmp_path):
    first, second = (build(configuration("vae", seed), (1, 8, 8)) for seed in (0, 1))
    assert not torch.equal(first.encoder[1].weight, second.encoder[1].weight)
    assert torch.equal(first.encoder[1].weight, build(configuration("vae", 0), (1, 8, 8)).encoder[1].weight)
    assert metrics(run(tmp_path, seed=0)) != metrics(run(tmp_path, seed=1))


@pytest.mark.parametrize("variant", ["vae", "vq_vae"])
def test_a_run_killed_after_any_epoch_ends_with_the_metrics_of_an_uninterrupted_one(tmp_path, monkeypatch, variant):
    whole = metrics(run(tmp_path / "whole", variant))
    for killed_after in (1, 2):
        results = tmp_path / f"killed-{killed_after}"
        save = Checkpoints.save
        monkeypatch.setenv("VAE_CHECKPOINT_SECONDS", "0")

        def save_then_die(self, model, optimisers, best, done, killed_after=killed_after, save=save):
            save(self, model, optimisers, best, done)
            if done.epoch == killed_after:
                raise KeyboardInterrupt

        monkeypatch.setattr(Checkpoints, "save", save_then_die)
        with pytest.raises(KeyboardInterrupt):
            run(results, variant)
        monkeypatch.setattr(Checkpoints, "save", save)
        assert not list(results.glob("runs/*/record.json"))
        record = run(results, variant)
        assert metrics(record) == whole
        assert record.details["resumed_after_epochs"] == [killed_after]
        assert not list(results.glob("runs/*/checkpoint-*"))


def test_resumed_history_is_the_uninterrupted_one(tmp_path, monkeypatch):
    monkeypatch.setenv("VAE_CHECKPOINT_SECONDS", "0")
    config, data = configuration(), digits()

    def history(folder, epochs_at_first):
        for epochs in (epochs_at_first, config.training.epochs):
            model = build(config, data.shape)
            limited = iter(range(epochs))
            original = training.seed_everything

            def seed(number, *purpose, limited=limited, original=original):
                if next(limited, None) is None:
                    raise KeyboardInterrupt
                original(number, *purpose)

            monkeypatch.setattr(training, "seed_everything", seed)
            try:
                done = train(
                    model, data.train.images, config.dataset, config.training, 0, None, checkpoints(folder), False
                )
            except KeyboardInterrupt:
                continue
            finally:
                monkeypatch.setattr(training, "seed_everything", original)
        return [{k: v for k, v in row.items() if k not in VOLATILE} for row in done.history]

    assert history(tmp_path / "a", 2) == history(tmp_path / "b", 3)


def test_a_loss_that_is_not_finite_ends_the_cell_as_diverged(tmp_path):
    record = run(tmp_path, "vae", 0, "training.learning_rate=1e30")
    assert record.status == "diverged"
    assert "loss of epoch" in record.error["message"]
    model, images = build(configuration(), (1, 8, 8)), digits().train.images
    model.decoder[0].weight.data.fill_(math.nan)
    with pytest.raises(DivergenceError, match=r"the loss of epoch 1 is nan; .* not finite: reconstruction, kl$"):
        train(model, images, configuration().dataset, TrainingConfig(epochs=1), 0, show_progress=False)


def test_an_error_ends_the_cell_as_failed_with_its_traceback(tmp_path, monkeypatch):
    def out_of_memory(*arguments, **options):
        raise torch.OutOfMemoryError("no memory left")

    monkeypatch.setattr("benchmarks.sweep.cell.evaluate", out_of_memory)
    record = run(tmp_path)
    assert record.status == "failed"
    assert record.error["type"] == "OutOfMemoryError"
    assert "out_of_memory" in record.error["traceback"]


def test_progress_runs_from_zero_to_one_whatever_the_budget(monkeypatch):
    for epochs in (2, 5):
        seen = []
        model = build(configuration(), (1, 8, 8))
        loss = model.loss

        def watched(x, progress, seen=seen, loss=loss):
            seen.append(progress.item())
            return loss(x, progress)

        model.loss = watched
        config = TrainingConfig(epochs=epochs, batch_size=500)
        train(model, digits().train.images, configuration().dataset, config, 0, show_progress=False)
        assert seen == pytest.approx(torch.linspace(0, 1, 3 * epochs).tolist())


def test_every_training_image_is_seen_once_an_epoch_and_the_ragged_batch_weighs_what_it_should():
    data = digits()
    config = TrainingConfig(epochs=1, batch_size=500, learning_rate=1e-30)
    model = build(configuration(), (1, 8, 8))
    counts = []
    loss = model.loss

    def watched(batch, progress):
        result = loss(batch, progress)
        counts.append((len(batch.images), result.terms["reconstruction"].sum().item()))
        return result

    model.loss = watched
    done = train(model, data.train.images, configuration().dataset, config, 0, show_progress=False)
    assert [n for n, _ in counts] == [500, 500, 297]
    assert done.history[0]["reconstruction"] == pytest.approx(sum(total for _, total in counts) / 1297, rel=1e-5)


def test_images_are_in_a_new_random_order_in_every_epoch(monkeypatch):
    """Of every epoch, with other noise."""
    orders, noise = [], []
    make = training.make_step

    def watched(*arguments):
        step = make(*arguments)
        call = step._run

        def run(rows, *rest):
            orders.append(rows.tolist())
            noise.append(torch.rand(1, generator=torch.Generator().set_state(torch.get_rng_state())).item())
            return call(rows, *rest)

        step._run = run
        return step

    monkeypatch.setattr(training, "make_step", watched)
    config, images = TrainingConfig(epochs=3, batch_size=2000), digits().train.images
    train(build(configuration(), (1, 8, 8)), images, configuration().dataset, config, 0, show_progress=False)
    assert [sorted(order) for order in orders] == [list(range(len(images)))] * 3
    assert len({tuple(order) for order in [*orders, list(range(len(images)))]}) == 4
    assert len(set(noise)) == 3


def test_selection_by_validation_reports_the_best_epochs_weights():
    data, scores = digits(), iter([1.0, 3.0, 2.0])
    snapshots = []

    def validate(model):
        snapshots.append({k: v.clone() for k, v in model.state_dict().items()})
        return {"validation_elbo": next(scores)}

    config = TrainingConfig(epochs=3, select="validation")
    model = build(configuration(), (1, 8, 8))
    train(model, data.train.images, configuration().dataset, config, 0, validate, show_progress=False)
    assert all(torch.equal(value, snapshots[1][key]) for key, value in model.state_dict().items())


def test_patience_ends_training_early():
    scores = iter([1.0, 0.5, 0.4, 9.0])
    config = TrainingConfig(epochs=4, select="validation", patience=2)
    model = build(configuration(), (1, 8, 8))
    images = digits().train.images
    done = train(model, images, configuration().dataset, config, 0, lambda m: {"v": next(scores)}, show_progress=False)
    assert done.epoch == 3


def test_an_improvement_gives_back_all_the_patience():
    scores = iter([1.0, 0.5, 2.0, 1.5, 1.6, 9.0])
    config = TrainingConfig(epochs=6, select="validation", patience=2)
    model = build(configuration(), (1, 8, 8))
    images = digits().train.images
    done = train(model, images, configuration().dataset, config, 0, lambda m: {"v": next(scores)}, show_progress=False)
    assert (done.epoch, done.best_score) == (5, 2.0)


def test_gradient_clipping_bounds_the_step():
    def change(clip):
        torch.manual_seed(0)
        model = build(configuration(), (1, 8, 8))
        before = model.decoder[0].weight.clone()
        config = TrainingConfig(epochs=1, batch_size=2000, optimiser="sgd", learning_rate=1.0, gradient_clip=clip)
        train(model, digits().train.images, configuration().dataset, config, 0, show_progress=False)
        return (model.decoder[0].weight - before).norm()

    assert change(1e-3) <= 1e-3 * 1.001
    assert change(None) > 1e-2


@pytest.mark.parametrize("optimiser", ["adam", "adamw", "adamax", "sgd"])
def test_every_optimiser_resumes(tmp_path, monkeypatch, optimiser):
    monkeypatch.setenv("VAE_CHECKPOINT_SECONDS", "0")
    config, data = configuration("vae", 0, f"training.optimiser={optimiser}", "training.learning_rate=1e-4"), digits()

    def trained(folder):
        model = build(config, data.shape)
        train(model, data.train.images, config.dataset, config.training, 0, None, checkpoints(folder), False)
        return model.state_dict()

    whole = trained(tmp_path)
    (newest,) = tmp_path.glob("checkpoint-000003*")
    newest.unlink()
    again = trained(tmp_path)
    assert all(torch.equal(whole[key], again[key]) for key in whole)


def test_schedules_are_functions_of_progress():
    assert learning_rate_factor("constant", 0.9) == 1
    assert learning_rate_factor("cosine", 0.0) == 1
    assert learning_rate_factor("cosine", 0.5) == pytest.approx(0.5)
    assert learning_rate_factor("constant", 0.05, warmup=0.1) == pytest.approx(0.5)
    # Burda et al.: 3^i epochs with the factor 10^(-i/7) for i = 0, ..., 7, which are 3280 epochs.
    at = [learning_rate_factor("burda", (epoch + 0.5) / 3280) for epoch in (0, 1, 3, 4, 12, 13, 1092, 1093, 3279)]
    stages = [0, 1, 1, 2, 2, 3, 6, 7, 7]
    assert at == pytest.approx([10 ** (-stage / 7) for stage in stages])


def test_tf32_is_for_training_alone_and_only_where_it_was_asked_for(tmp_path, monkeypatch):
    from benchmarks.sweep import cell

    seen = {}

    def noting(name, original):
        def call(*arguments, **options):
            seen[name] = (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)
            return original(*arguments, **options)

        return call

    before = torch.backends.cudnn.allow_tf32
    monkeypatch.setattr(cell, "train", noting("train", cell.train))
    monkeypatch.setattr(cell, "validation_score", noting("validate", cell.validation_score))
    monkeypatch.setattr(cell, "evaluate", noting("evaluate", cell.evaluate))
    off = (False, False)
    assert run(tmp_path / "tf32", "vae", 0, "training.precision=tf32").status == "ok"
    assert seen == {"train": (True, True), "validate": off, "evaluate": off}
    assert run(tmp_path / "fp32").status == "ok"
    assert seen == {"train": off, "validate": off, "evaluate": off}
    # Reference features are shared by all runs of a sweep, and computed outside of runs.
    monkeypatch.setattr(cell, "evaluation_data", noting("prepare", lambda *arguments: None))
    with tensor_float_32(True):
        cell.prepare(configuration(), None, cell.Setting(tmp_path, tmp_path, tmp_path, torch.device("cpu")))
    assert seen["prepare"] == (False, False)
    with pytest.raises(RuntimeError), tensor_float_32(not before):
        raise RuntimeError
    assert torch.backends.cudnn.allow_tf32 == before
