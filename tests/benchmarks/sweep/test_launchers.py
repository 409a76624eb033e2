"""Runs started by Hydra's launchers give the same records as runs without a launcher."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from benchmarks.__main__ import main
from benchmarks.config import choices, compose
from benchmarks.errors import UserError
from benchmarks.records.record import read_records, write_record
from benchmarks.sweep import cell, launchers, runner
from benchmarks.sweep.cell import FAILED_STEPS
from benchmarks.sweep.locks import cell_lock

from ..cells import SMALL, configuration, run, setting

DEADLY = '''
import os

from variants import Variant, register


@register("deadly")
class Deadly(Variant):
    """A model whose first step ends its process, as the system does when there is no memory left."""

    def loss(self, batch, progress):
        os.kill(os.getpid(), 9)
'''
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


@pytest.mark.parametrize(("launcher", "plugin"), [("processes", "joblib"), ("slurm_local", "submitit")])
def test_a_job_that_is_killed_is_a_failed_record_and_the_sweep_goes_on(tmp_path, launcher, plugin):
    pytest.importorskip(f"hydra_plugins.hydra_{plugin}_launcher")
    (tmp_path / "deadly.py").write_text(DEADLY)
    # In its own process: variants cannot be unregistered.
    environment = os.environ | {"VAE_VARIANTS_PATH": str(tmp_path), "VAE_DATA_ROOT": "unused"}
    arguments = [*BENCH, "--variants", "deadly", "--results", str(tmp_path / "r"), "--launcher", launcher, *SMALL]
    done = subprocess.run([sys.executable, "-m", "benchmarks", *arguments], env=environment, capture_output=True)
    assert done.returncode == 1
    assert b"1 run finished, 0 already done, 1 failed" in done.stdout
    (record,) = read_records(tmp_path / "r")[0]
    error = {"processes": "TerminatedWorkerError", "slurm_local": "UncompletedJobError"}[launcher]
    assert (record.status, record.error["type"]) == ("failed", error)


class Killing:
    """A launcher that runs the first jobs, and ends as if the next one had been killed."""

    def __init__(self, task_function, **others):
        self.task = task_function

    def launch(self, jobs, initial_job_idx):
        assert len(jobs) >= len(self.first)
        for composed in self.first:
            self.task(composed)
        raise MemoryError("killed\n(out of memory)")


def launched(monkeypatch, folder, cells, runs):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    first = [launchers.OmegaConf.create(cell.resolved()) for cell in cells[:runs]]
    monkeypatch.setattr(Killing, "first", first, raising=False)
    monkeypatch.setattr(launchers.Plugins.instance(), "instantiate_launcher", lambda **options: Killing(**options))
    return list(launchers.launch(cells, setting(folder), "processes"))


def test_where_one_job_is_killed_the_others_keep_what_they_have(tmp_path, monkeypatch):
    cells = [configuration(name) for name in ("vae", "iwae", "ae")]
    with cell_lock(setting(tmp_path).run_folder(cells[2])):
        done, killed, running = (record for _, record in launched(monkeypatch, tmp_path, cells, 1))
    assert (done.status, running) == ("ok", None)
    assert (killed.status, killed.error["message"]) == ("failed", "the launcher's job: killed (out of memory)")
    # A job that starts after that runs its cell in spite of the failed record.
    launchers.Task(setting(tmp_path), {cells[1].run_id: ()})(launchers.OmegaConf.create(cells[1].resolved()))
    assert {record.status for record in read_records(tmp_path)[0]} == {"ok"}


def test_a_retry_whose_job_is_killed_failed_and_leaves_the_earlier_record(tmp_path, monkeypatch):
    run(tmp_path)
    ((_, record),) = launched(monkeypatch, tmp_path, [configuration()], 0)
    assert record.status == "failed"
    assert [record.status for record in read_records(tmp_path)[0]] == ["ok"]


def test_a_job_that_returns_without_a_new_record_failed_unless_another_process_runs_it(tmp_path, monkeypatch):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    new, repeated, elsewhere = cells = [configuration(name) for name in ("vae", "iwae", "ae")]
    record = run(tmp_path, "iwae")
    kept = dataclasses.replace(record, details=record.details | {FAILED_STEPS: {"pictures": {"reason": "broken"}}})
    write_record(setting(tmp_path).run_folder(repeated), kept)
    returned = [SimpleNamespace(return_value=cell is not elsewhere) for cell in cells]
    engine = SimpleNamespace(launch=lambda jobs, initial_job_idx: returned)
    monkeypatch.setattr(launchers.Plugins.instance(), "instantiate_launcher", lambda **options: engine)
    found = {cell.run_id: record for cell, record in launchers.launch(cells, setting(tmp_path), "processes")}
    assert found[new.run_id].error["message"] == "the launcher's job: its record could not be written"
    assert found[repeated.run_id].error["message"] == "the launcher's job: the run failed again"
    assert found[elsewhere.run_id] is None
    assert {record.status for record in read_records(tmp_path)[0] if record.variant == "iwae"} == {"ok"}


@pytest.mark.parametrize("where", ["learn", "evaluate"])
def test_a_launcher_that_requeues_a_job_leaves_no_record_and_ends_the_process_as_it_wants(tmp_path, monkeypatch, where):
    def requeues(number, frame):
        sys.exit(144)

    def signalled(*arguments, **options):
        os.kill(os.getpid(), signal.SIGUSR2)
        time.sleep(10)

    config = configuration()
    task = launchers.Task(setting(tmp_path), {config.run_id: ()})
    before = signal.signal(signal.SIGUSR2, requeues)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(cell, where, signalled)
            with pytest.raises(SystemExit) as left:
                task(launchers.OmegaConf.create(config.resolved()))
        assert left.value.code == 144
        assert signal.getsignal(signal.SIGUSR2) is requeues
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert read_records(tmp_path)[0] == []
    assert task(launchers.OmegaConf.create(config.resolved()))
    assert [record.status for record in read_records(tmp_path)[0]] == ["ok"]


def test_a_results_folder_with_an_apostrophe_can_be_given_to_a_launcher(tmp_path, monkeypatch):
    folder = tmp_path / "o'brien"
    ((_, record),) = launched(monkeypatch, folder, [configuration()], 1)
    assert record.status == "ok"


def test_a_launcher_that_cannot_start_a_job_is_an_error_in_one_line(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"^launcher 'processes' started no run: killed \(out of memory\)$"):
        launched(monkeypatch, tmp_path, [configuration()], 0)
    assert read_records(tmp_path)[0] == []
