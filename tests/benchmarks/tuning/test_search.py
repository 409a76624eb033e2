"""``make tune`` starts few runs, the default first, uses validation data only, and its result can be read back."""

import csv
import json
import shutil
from dataclasses import replace

import pytest

import variants
from benchmarks.__main__ import main
from benchmarks.config import compose
from benchmarks.errors import UserError
from benchmarks.records.searches import read_searches, write_search
from benchmarks.reporting import write_reports
from benchmarks.sweep import runner
from benchmarks.sweep.locks import cell_lock
from benchmarks.tuning import search as module
from benchmarks.tuning.search import describe_search, searchable, tune

pytest.importorskip("optuna")

FAST = ["training.epochs=1", "network.hidden=[8]", "network.latent_size=2", "training.validation_images=50"]


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    import torch

    from benchmarks.data import cache_root, data_root
    from benchmarks.sweep.cell import Setting

    folder = tmp_path_factory.mktemp("tuned")
    return Setting(folder, data_root(), cache_root() / "features", torch.device("cpu"), show_progress=False)


@pytest.fixture(scope="module")
def found(setting):
    return tune("beta_vae", "digits", "smoke", setting, trials=3, overrides=FAST)


def test_the_default_is_tried_first_and_no_trial_twice(found):
    assert found.trials[0].options == found.default == {"beta": 4.0}
    tried = [trial.options["beta"] for trial in found.trials]
    assert len(tried) == len(set(tried)) == 3
    assert set(tried) <= set(found.space["beta"]) == {4.0, *variants.lookup("beta_vae").search["beta"]}


def test_the_best_has_the_highest_validation_score_of_its_last_epoch(found, setting):
    for trial in found.trials:
        with (setting.results / "tuning" / "runs" / trial.run_id / "history.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert trial.score == float(rows[-1]["validation_elbo"])
    assert found.score(found.best) == max(trial.score for trial in found.trials)
    assert found.criterion == "validation_elbo"


def test_what_was_found_is_read_back_and_a_damaged_file_costs_itself(found, setting):
    write_search(setting.results, found)
    (setting.results / "tuning" / "broken.json").write_text('{"variant": 1}')
    read, messages = read_searches(setting.results)
    assert read == [found]
    assert len(messages) == 1
    assert "broken.json" in messages[0]
    (setting.results / "tuning" / "broken.json").unlink()


def test_a_search_that_is_repeated_trains_nothing(found, setting, monkeypatch):
    monkeypatch.setattr("benchmarks.sweep.cell.train", None)
    again = tune("beta_vae", "digits", "smoke", setting, trials=3, overrides=FAST)
    assert again.trials == found.trials


def test_a_space_smaller_than_the_trials_is_searched_whole(setting):
    found = tune("beta_vae", "digits", "smoke", setting, trials=50, overrides=FAST)
    assert {trial.options["beta"] for trial in found.trials} == set(found.space["beta"])


def test_a_trial_that_ends_badly_is_named_and_never_the_best(setting, monkeypatch):
    score = module._score

    def failing(inner, cell, criterion):
        return (criterion, None) if cell.variant.beta == 4.0 else score(inner, cell, criterion)

    monkeypatch.setattr(module, "_score", failing)
    found = tune("beta_vae", "digits", "smoke", setting, trials=2, overrides=FAST)
    assert found.trials[0].score is None
    assert found.best != {"beta": 4.0}
    assert "beta=4.0: failed or diverged (default)" in describe_search(found)


def test_what_is_searched_are_options_and_every_value_is_accepted():
    for name in variants.names():
        cls = variants.lookup(name)
        for option, values in cls.search.items():
            for value in values:
                assert getattr(cls.Config(**{option: value}), option) == value


def test_a_variant_without_a_search_and_an_unknown_criterion_are_refused():
    with pytest.raises(UserError, match=r"nothing to tune: vae declares no `search` \(variants that do: beta"):
        searchable(["vae"])
    assert searchable(["vae", "vq_vae"]) == ["vq_vae"]
    assert main(["tune", "--variants", "vq_vae", "--criterion", "validation_elb"]) == 2


def test_the_page_of_a_variant_shows_what_was_tried(found, setting, tmp_path):
    write_search(setting.results, found)
    shutil.copytree(setting.results / "tuning" / "runs", setting.results / "runs", dirs_exist_ok=True)
    assert write_reports(setting.results, tmp_path) == []
    page = (tmp_path / "variants" / "beta_vae.md").read_text()
    part = page.partition("## Tuning on digits")[2].partition("##")[0]
    for trial in found.trials:
        assert f"| beta = {trial.options['beta']} " in part
        assert f"| {trial.score:.2f} " in part
    assert part.count("| default") == 1
    assert "make tune VARIANTS=beta_vae DATASETS=digits" in part


def test_a_users_value_of_a_searched_option_is_tried_beside_the_default_and_stored_with_the_command(setting, tmp_path):
    given = [*FAST, "variant.beta=8"]
    found = tune("beta_vae", "digits", "smoke", setting, trials=1, overrides=given)
    assert found.default == {"beta": 4.0}
    assert found.space["beta"][:2] == [4.0, 8.0]
    assert found.trials[0].options == {"beta": 4.0}
    assert read_searches(setting.results) == ([found], [])
    assert found.overrides == given
    shutil.copytree(setting.results / "tuning" / "runs", setting.results / "runs", dirs_exist_ok=True)
    assert write_reports(setting.results, tmp_path) == []
    page = (tmp_path / "variants" / "beta_vae.md").read_text()
    assert (
        "make tune VARIANTS=beta_vae DATASETS=digits PROFILE=smoke TRIALS=1 CRITERION=validation_elbo "
        f'OVERRIDES="{" ".join(given)}"'
    ) in page


def test_a_file_without_overrides_is_read_and_one_whose_overrides_are_no_texts_is_left_out(found, setting):
    path = write_search(setting.results, found)
    data = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in data.items() if name != "overrides"}))
    assert read_searches(setting.results) == ([replace(found, overrides=[])], [])
    for wrong in ("training.epochs=1", [1]):
        path.write_text(json.dumps(data | {"overrides": wrong}))
        (message,) = read_searches(setting.results)[1]
        assert "overrides must be a list of texts" in message
    # A number that no float can hold.
    path.write_text(json.dumps(data | {"trials": [data["trials"][0] | {"score": 10**400}]}))
    (message,) = read_searches(setting.results)[1]
    assert "left out: " in message
    write_search(setting.results, found)


def test_the_file_is_plain_json(found, setting):
    write_search(setting.results, found)
    data = json.loads((setting.results / "tuning" / "digits-beta_vae.json").read_text())
    assert data["space"]["beta"][0] == 4.0
    assert data["profile"] == "smoke"


def test_a_trial_that_another_process_runs_or_whose_data_are_missing_ends_the_search(setting, monkeypatch, tmp_path):
    (setting.results / "tuning" / "digits-beta_vae.json").unlink(missing_ok=True)
    longer = [*FAST, "training.epochs=2"]
    trial = compose("beta_vae", "digits", "smoke", 0, [*module.LEAST_EVALUATION, *longer, "variant.beta=4"])
    with (
        cell_lock(setting.results / "tuning" / "runs" / trial.run_id),
        pytest.raises(UserError, match=f"{trial.run_id} is being run by another process: repeat the command when"),
    ):
        tune("beta_vae", "digits", "smoke", setting, trials=2, overrides=longer)
    monkeypatch.setattr(runner, "load", missing)
    with pytest.raises(UserError, match="the data set digits is missing: no network"):
        tune("beta_vae", "digits", "smoke", setting, trials=2, overrides=longer)
    assert not (setting.results / "tuning" / "digits-beta_vae.json").exists()


def missing(config, root):
    raise UserError("no network")
