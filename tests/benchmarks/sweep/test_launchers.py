"""Runs started by Hydra's launchers give the same records as runs without a launcher."""

import pytest

from benchmarks.__main__ import main
from benchmarks.config import choices, compose
from benchmarks.errors import UserError
from benchmarks.records.record import read_records
from benchmarks.sweep import launchers, runner

from ..cells import SMALL, configuration, run, setting

BENCH = ["bench", "--datasets", "digits", "--profile", "smoke", "--no-report"]


def metrics(folder):
    records, _ = read_records(folder)
    assert {record.status for record in records} == {"ok"}
    return {record.run_id: record.metrics for record in records}


@pytest.mark.parametrize(("launcher", "plugin"), [("processes", "joblib"), ("slurm_local", "submitit")])
def test_a_launcher_runs_cells_to_the_records_they_have_without_one(tmp_path, capfd, launcher, plugin, monkeypatch):
    pytest.importorskip(f"hydra_plugins.hydra_{plugin}_launcher")
    # As for the runs in this process, no data set for outliers is available.
    monkeypatch.setenv("VAE_DATA_ROOT", "unused")
    expected = {}
    for variant in ("vae", "joint_vae"):
        record = run(tmp_path / "alone", variant, 0, "variant.samples=2")
        expected[record.run_id] = record.metrics
    arguments = [*BENCH, "--variants", "vae,joint_vae", "--results", str(tmp_path / "r"), "--launcher", launcher]
    own = ["hydra.launcher.n_jobs=2"] if launcher == "processes" else ["hydra.launcher.timeout_min=5"]
    assert main([*arguments, *SMALL, "variant.samples=2", *own]) == 0
    assert metrics(tmp_path / "r").keys() == expected.keys()
    for run_id, values in metrics(tmp_path / "r").items():
        assert values == pytest.approx(expected[run_id], rel=1e-4)
    capfd.readouterr()
    # If the sweep is started again, no run is given to the launcher.
    assert main([*arguments, *SMALL, "variant.samples=2", *own]) == 0
    assert "0 runs finished, 2 already done, 0 failed" in capfd.readouterr().out


def test_a_launcher_is_given_a_cell_once_however_often_it_was_asked_for(tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(launchers, "launch", lambda cells, *options: given.extend(cells) or [])
    cell = configuration()
    runner.run_on("processes", [cell, cell], setting(tmp_path), False, [])
    assert given == [cell]


def test_a_cell_that_fails_in_a_launcher_is_a_failed_record(tmp_path, capfd, monkeypatch):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    monkeypatch.setenv("VAE_DATA_ROOT", str(tmp_path / "nothing"))
    arguments = ["bench", "--datasets", "celeba", "--variants", "vae", "--profile", "smoke", "--no-report"]
    assert main([*arguments, "--results", str(tmp_path / "r"), "--launcher", "processes"]) == 1
    (record,) = read_records(tmp_path / "r")[0]
    assert (record.status, record.error["type"]) == ("failed", "DataMissing")


def test_a_launcher_whose_plugin_is_missing_says_what_mends_it(monkeypatch):
    original = launchers.conf_folder()
    assert set(launchers.PLUGINS) == set(choices("hydra/launcher"))
    monkeypatch.setattr(launchers.Plugins.instance(), "plugin_type_to_subclass_list", {}, raising=False)
    from hydra.core.config_store import ConfigStore

    group = ConfigStore.instance().repo["hydra"]["launcher"]
    monkeypatch.delitem(group, "submitit_slurm.yaml", raising=False)
    with pytest.raises(UserError, match="launcher 'slurm' needs a plugin that is not installed: pip install hydra-sub"):
        launchers.check_launcher("slurm")
    assert original.is_dir()


def test_a_setting_that_a_launcher_does_not_have_is_refused(tmp_path, capsys):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    arguments = [*BENCH, "--variants", "vae", "--results", str(tmp_path / "r"), "--launcher", "processes"]
    assert main([*arguments, *SMALL, "hydra.launcher.partition=gpu"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: launcher 'processes': ")
    assert error.count("\n") == 1


@pytest.mark.parametrize("dataset", ["digits", "mnist_grey", "celeba", "fashion_mnist_binary"])
def test_a_cell_is_composed_again_from_what_names_it(dataset):
    from benchmarks.config import arguments_of

    cell = compose("wae_mmd", dataset, "quick", 3, ["training.epochs=2"])
    named = dict(argument.split("=", 1) for argument in arguments_of(cell))
    assert named["variant"] == "wae_mmd"
    assert compose(named["variant"], named["dataset"], named["profile"], int(named["seed"]), cell.overrides) == cell
