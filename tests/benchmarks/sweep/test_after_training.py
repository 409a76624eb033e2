"""An error after training does not lose the trained model.

The record contains everything else, and a retry evaluates the saved weights.
"""

import sys
from dataclasses import replace

import pytest
import torch

from benchmarks.records.catalogue import families
from benchmarks.records.record import read_records
from benchmarks.sweep import cell, plan
from benchmarks.sweep import runner as sweep
from benchmarks.training.checkpoint import WEIGHTS_FILE, Checkpoints

from ..cells import SMALL, configuration, digits, setting

# A variant with a bound, one with discrete codes, one with a teacher, and an autoencoder. The observation models of the
# last two are fitted after training. The fast tests only run the autoencoder, which has every step after training.
VARIANTS = [
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("vae", "vq_vae", "dfc_vae")), "wae_mmd",
]  # fmt: skip
BOARD = [family.name for family in families()]


def raises(*arguments, **options):
    raise ArithmeticError("put in")


def full(*arguments, **options):
    raise OSError(28, "No space left on device")


def put_in(patch, step):
    """Make one step after training raise an error."""
    if step in BOARD:
        put = {family.name: family for family in families()}
        put[step] = replace(put[step], compute=raises)
        patch.setattr("benchmarks.evaluation.evaluate.families", lambda: list(put.values()))
    elif step == "history":
        patch.setattr(cell, "write_history", full)
    elif step == "weights":
        patch.setattr(Checkpoints, "save_weights", full)
    elif step == "pictures":
        patch.setattr("benchmarks.evaluation.pictures.write", raises)
    elif step == "latent pictures":
        patch.setattr("benchmarks.evaluation.latent_pictures.write", raises)
    elif step == "feature space":
        patch.setattr(cell, "judge_space", raises)
    elif step == "calibration":
        patch.setattr(cell, "fit_observation", raises)
    elif step == "data":
        patch.setattr(cell, "observe_evaluation", raises_after_training())
    elif step == "all metrics":
        patch.setattr(cell, "evaluate", raises)
    elif step == "record":
        patch.setattr(cell, "write_record", full)
    else:
        raise AssertionError(step)


def raises_after_training():
    """Raise from the second call on, because training also observes images, for its validation."""
    original, calls = cell.observe_evaluation, []

    def observe(*arguments):
        calls.append(arguments)
        return original(*arguments) if len(calls) == 1 else raises()

    return observe


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A function that returns the record of a variant without an error, computed once."""
    made = {}

    def record(name):
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            made[name] = cell.run_once(configuration_of(name), setting(folder), digits)
        return made[name]

    return record


def configuration_of(name):
    # 8-bit pixels with an observation model that has a scale, so that there is something to fit; small numbers of
    # images and samples.
    few = {"importance_samples": 2, "images": 40, "generated_images": 40, "probe_images": 60, "information_images": 10}
    return configuration(
        name, 0, "dataset.observation=discretised_logistic", "dataset.binarise=none", "training.epochs=1",
        "training.batch_size=500", *(f"evaluation.{option}={count}" for option, count in few.items()),
    )  # fmt: skip


def never(*arguments, **options):
    raise AssertionError("trained again")


def retried(results, name, monkeypatch):
    """The record of the same run with RETRY=1, which must not train again."""
    monkeypatch.setattr(cell, "train", never)
    return cell.run_once(configuration_of(name), setting(results), digits, retry=True)


# Steps whose failure only loses their own results.
ALONE = [*BOARD, "history", "pictures", "latent pictures", "feature space", "weights"]
# Steps without which nothing can be measured or stored.
WHOLE = ["calibration", "data", "all metrics", "record"]


@pytest.mark.parametrize("step", ALONE)
@pytest.mark.parametrize("name", VARIANTS)
def test_a_step_that_fails_costs_itself_alone(tmp_path, monkeypatch, undisturbed, name, step):
    whole = undisturbed(name)
    assert whole.status == "ok", whole.error
    with monkeypatch.context() as patch:
        put_in(patch, step)
        record = cell.run_once(configuration_of(name), setting(tmp_path), digits)
    assert record.status == "ok", record.error
    lost = whole.metrics.keys() - record.metrics.keys()
    assert {metric: whole.metrics[metric] for metric in record.metrics} == record.metrics
    assert all(record.not_applicable[metric].startswith("failed: ") for metric in lost)
    if step in BOARD:
        own = next(family for family in families() if family.name == step).metrics.keys()
        assert lost == whole.metrics.keys() & own
        assert all(record.not_applicable[metric] == "failed: ArithmeticError: put in" for metric in lost)
    else:
        assert bool(lost) == (step == "feature space")
    nothing_to_do = (step in BOARD and not lost) or (step == "latent pictures" and name == "vq_vae")
    if nothing_to_do and record.warnings == whole.warnings:
        return
    assert any("put in" in warning or "No space left" in warning for warning in record.warnings)
    if step == "weights":
        return
    assert cell.incomplete(record)
    again = retried(tmp_path, name, monkeypatch)
    assert (again.metrics, again.not_applicable) == (whole.metrics, whole.not_applicable)
    assert again.warnings == whole.warnings
    assert not cell.incomplete(again)
    assert again.timing["train_seconds"] == record.timing["train_seconds"]


@pytest.mark.parametrize("step", WHOLE)
@pytest.mark.parametrize("name", VARIANTS)
def test_a_run_of_which_nothing_could_be_measured_failed_and_keeps_its_weights(
    tmp_path, monkeypatch, undisturbed, name, step
):
    whole = undisturbed(name)
    with monkeypatch.context() as patch:
        put_in(patch, step)
        record = cell.run_once(configuration_of(name), setting(tmp_path), digits)
    if step == "calibration" and name in ("vae", "vq_vae"):
        assert record.status == "ok", "its loss trains the scale"
        return
    assert record.status == "failed"
    assert "put in" in record.error["message"] or "No space left" in record.error["message"]
    again = retried(tmp_path, name, monkeypatch)
    assert again.status == "ok", again.error
    assert again.metrics == whole.metrics


def test_a_kill_between_training_and_the_record_costs_no_training(tmp_path, monkeypatch, undisturbed):
    with monkeypatch.context() as patch:
        patch.setattr(cell, "evaluate", lambda *arguments, **options: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            cell.run_once(configuration_of("wae_mmd"), setting(tmp_path), digits)
    monkeypatch.setattr(cell, "train", never)
    record = cell.run_once(configuration_of("wae_mmd"), setting(tmp_path), digits)
    assert record.metrics == undisturbed("wae_mmd").metrics


def test_a_cache_that_takes_no_files_costs_nothing_but_time(tmp_path, undisturbed):
    (tmp_path / "cache").write_text("a file, not a folder")
    unwritable = replace(setting(tmp_path), cache=tmp_path / "cache")
    record = cell.run_once(configuration_of("wae_mmd"), unwritable, digits)
    assert record.metrics == undisturbed("wae_mmd").metrics
    assert not cell.incomplete(record)


def test_weights_of_other_data_are_trained_again(tmp_path, monkeypatch, caplog):
    config, data = configuration("vae", 0, "training.epochs=1"), digits()
    first = cell.run_once(config, setting(tmp_path), lambda: data)
    (setting(tmp_path).run_folder(config) / "record.json").unlink()
    fewer = replace(data, sha256="other", train=replace(data.train, images=data.train.images[:500], labels=data.train.labels[:500]))  # fmt: skip  # noqa: E501
    second = cell.run_once(config, setting(tmp_path), lambda: fewer)
    assert "the data changed since it was written: training restarts from the beginning" in caplog.text
    assert second.metrics["elbo"] != first.metrics["elbo"]


def test_a_retry_that_goes_worse_leaves_the_record_that_has_numbers(tmp_path, monkeypatch):
    config = configuration_of("vae")
    with monkeypatch.context() as patch:
        put_in(patch, "pictures")
        record = cell.run_once(config, setting(tmp_path), digits)
        put_in(patch, "all metrics")
        assert cell.run_once(config, setting(tmp_path), digits, retry=True).status == "failed"
    assert cell.finished(config, setting(tmp_path)) == record
    # The run counts as done unless a retry is requested, and the plan says which step failed.
    assert plan.to_do([config], setting(tmp_path), False) == {config.run_id: "done (ok, failed: pictures)"}
    assert plan.to_do([config], setting(tmp_path), True) == {config.run_id: "run again (ok, failed: pictures)"}
    assert sweep.outcome(record).endswith(f"but pictures failed, {record.timing['total_seconds']:.0f} s")


def test_what_a_kill_after_the_record_left_is_removed_at_the_next_start(tmp_path):
    config = configuration("vae", 0, "training.epochs=1")
    cell.run_once(config, setting(tmp_path), digits)
    folder = setting(tmp_path).run_folder(config)
    for name in ("checkpoint-000001.safetensors", ".record.json.x1.tmp", ".lock"):
        (folder / name).write_bytes(b"left")
    assert sweep.run([config], setting(tmp_path), jobs=1).ran == []
    assert not list(folder.glob("checkpoint-*"))
    assert not list(folder.glob(".*"))
    assert (folder / WEIGHTS_FILE).exists()


def test_a_run_goes_on_with_the_threads_it_began_with(tmp_path, monkeypatch):
    """The number of threads of the process that continues the run does not matter."""
    config = configuration("vae", 0, "training.epochs=2")
    monkeypatch.setenv("VAE_CHECKPOINT_SECONDS", "0")
    seen = []

    def stop(*arguments, **options):
        seen.append(torch.get_num_threads())
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(cell, "evaluate", stop)
        with pytest.raises(KeyboardInterrupt), cell.threads(1):
            cell.run_once(config, setting(tmp_path), digits)
    with cell.threads(2):
        record = cell.run_once(config, setting(tmp_path), digits)
        assert torch.get_num_threads() == 2
    assert seen == [1]
    assert record.environment["threads"] == 1


def test_threads_follow_from_all_cells_that_were_asked_for_not_from_those_left(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.sweep.workers.usable_cores", lambda: 4)
    cells = [configuration("vae", seed, "training.epochs=1") for seed in (0, 1)]
    cell.run_once(cells[0], setting(tmp_path), digits)
    (record,) = sweep.run(cells, setting(tmp_path), jobs=2).ran
    assert (record.seed, record.environment["threads"]) == (1, 2)


def test_what_ended_badly_before_keeps_the_exit_status(tmp_path, capsys):
    from benchmarks.__main__ import main

    command = ["bench", "--variants", "vae", "--datasets", "digits", "--profile", "smoke", "--jobs", "1", "--no-report"]
    command += ["--results", str(tmp_path), *SMALL, "training.learning_rate=1e30"]
    assert [main(command), main(command)] == [1, 1]
    said = capsys.readouterr().out.partition("0 runs finished, 1 already done, 1 failed\n")[2]
    assert "diverged: DivergenceError: the loss of epoch 1 is nan" in said
    assert "\nuse RETRY=1" in said
    assert read_records(tmp_path)[0][0].status == "diverged"


def test_a_record_that_would_be_refused_is_a_failure_that_a_retry_measures_again(tmp_path, monkeypatch):
    def hostile(*arguments, **options):
        found = evaluate(*arguments, **options)
        found.metrics["../elsewhere"] = 1.0
        return found

    evaluate, config, where = cell.evaluate, configuration("wae_mmd"), setting(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(cell, "evaluate", hostile)
        (failed,) = sweep.run([config], where, jobs=1).failed
    assert failed.status == "failed"
    assert "../elsewhere" in failed.error["message"]
    monkeypatch.setattr(cell, "train", raises)
    assert [record.status for record in sweep.run([config], where, retry=True, jobs=1).ran] == ["ok"]


def test_a_picture_that_ends_the_process_costs_itself_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.evaluation.pictures.write", lambda *arguments: sys.exit(4))
    (made,) = sweep.run([configuration("wae_mmd")], setting(tmp_path), jobs=1).ran
    assert made.status == "ok"
    assert list(made.details[cell.FAILED_STEPS]) == ["pictures"]
