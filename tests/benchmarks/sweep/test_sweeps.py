"""Sweeps: plans, messages, exports, trackers, and runs shared between processes."""

import csv
import errno
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from benchmarks.__main__ import main
from benchmarks.config import compose
from benchmarks.errors import UserError
from benchmarks.records.export import frame, write_table
from benchmarks.records.record import read_record, read_records, write_record
from benchmarks.sweep import cell, plan
from benchmarks.sweep import runner as sweep
from benchmarks.sweep.locks import LockedError, cell_lock
from variants import lookup

from ..cells import SMALL, configuration, run, setting

REPOSITORY = Path(__file__).resolve().parents[3]
BENCH = ["bench", "--datasets", "digits", "--profile", "smoke", "--jobs", "1", "--no-report"]


def bench(folder, *arguments):
    return main([*BENCH, "--results", str(folder), "--reports", str(folder / "reports"), *arguments, *SMALL])


def test_a_failed_run_names_the_line_that_raised(tmp_path, monkeypatch, capsys):
    def build(self, network):
        self.linear = torch.nn.Linear("three", 2)

    monkeypatch.setattr(lookup("vae"), "build", build)
    assert bench(tmp_path, "--variants", "vae") == 1
    # torch raises the error; the reported line is the one that called torch.
    printed = capsys.readouterr().out
    assert f"(test_sweeps.py, line {build.__code__.co_firstlineno + 1})\n" in printed
    assert "full tracebacks are in record.json" in printed


def test_a_dry_run_prints_the_plan_and_touches_nothing(tmp_path, capsys):
    assert bench(tmp_path / "new", "--variants", "vae", "--dry") == 0
    assert "1 run: 0 done, 1 to do" in capsys.readouterr().out
    assert not (tmp_path / "new").exists()
    run(tmp_path, "vae", 0)
    assert bench(tmp_path, "--variants", "vae,iwae", "--seeds", "0,1", "--dry") == 0
    lines = capsys.readouterr().out.splitlines()
    done = configuration("vae", 0).run_id
    assert f"{done}: done (ok)" in lines
    for variant, seed in (("vae", 1), ("iwae", 0), ("iwae", 1)):
        assert any(line.startswith(configuration(variant, seed).run_id + ": run, about ") for line in lines)
    assert lines[-2] == "4 runs: 1 done, 3 to do"
    assert lines[-1].startswith("about ")


def test_a_sweep_into_a_file_says_when_each_run_begins_and_ends(tmp_path):
    command = [sys.executable, "-m", "benchmarks", *BENCH, "--results", str(tmp_path / "r"), "--variants", "vae,iwae"]
    with (tmp_path / "log").open("w") as log:
        done = subprocess.run([*command, *SMALL], cwd=REPOSITORY, stdout=log, stderr=subprocess.STDOUT)
    assert done.returncode == 0
    lines = (tmp_path / "log").read_text().splitlines()
    first, second = (configuration(name).run_id for name in ("vae", "iwae"))
    began = [line.partition(", about")[0] for line in lines if line.startswith("[") and ": started" in line]
    ended = [line.partition(" elbo")[0] for line in lines if " elbo" in line]
    assert began == [f"[1/2] {first}: started", f"[2/2] {second}: started"]
    assert ended == [f"[1/2] {first}:", f"[2/2] {second}:"]
    # The second run has an estimate from the record of the first.
    assert ", about" in next(line for line in lines if line.startswith(began[1]))
    assert not any("\r" in line for line in lines)


def test_two_records_of_other_variants_give_an_estimate(tmp_path, capsys):
    for name in ("vae", "iwae"):
        run(tmp_path, name, 0)
    assert bench(tmp_path, "--variants", "beta_vae,dip_vae", "--dry") == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(": run, about " in line for line in lines[:2])
    assert lines[-1].startswith("about ")
    assert lines[-1].endswith("with 1 at a time, estimated from records of similar runs")


def test_a_folder_without_records_takes_those_of_the_suite_and_says_so(tmp_path, monkeypatch, capsys):
    device = run(tmp_path / "suite", "vae", 0).environment["device"]
    monkeypatch.setattr(plan, "COMMITTED", tmp_path / "suite")
    assert bench(tmp_path / "mine", "--variants", "iwae,dip_vae", "--dry") == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert all(": run, about " in line for line in lines[:2])
    assert last.startswith("about ")
    assert last.endswith(f" similar runs; 2 runs estimated from records that come with the suite, made on {device}")
    # The folder's own records have priority.
    run(tmp_path / "mine", "vae", 0)
    assert bench(tmp_path / "mine", "--variants", "iwae,dip_vae", "--dry") == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("estimated from records of similar runs")


def test_without_a_record_of_the_data_the_plan_says_why_there_is_no_estimate(tmp_path, capsys):
    assert bench(tmp_path, "--variants", "vae", "--dry") == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        "no time estimate, because there are no records of these data sets yet"
    )


def test_the_same_cell_asked_for_twice_is_one_cell(tmp_path):
    summary = sweep.run([configuration(), configuration()], setting(tmp_path), jobs=1)
    assert len(summary.ran) == 1


def test_cells_side_by_side_begin_with_the_unknown_and_the_longest(tmp_path):
    short = run(tmp_path, "vae", 0)
    long = replace(short, variant="iwae", timing={name: 10 * seconds for name, seconds in short.timing.items()})
    cells = [configuration(name, 1) for name in ("vae", "iwae")]
    elsewhere = compose("vae", "mnist", "smoke", 1)
    ordered = plan.longest_first([*cells, elsewhere], [short, long])
    assert [(cell.dataset.name, cell.variant_name) for cell in ordered] == [
        ("mnist", "vae"), ("digits", "iwae"), ("digits", "vae"),
    ]  # fmt: skip


def test_the_time_to_expect_counts_more_epochs_as_more_training_and_no_more_evaluation(tmp_path):
    done = run(tmp_path, "vae", 0)
    slow = replace(done, timing=done.timing | {"train_seconds": 100.0, "total_seconds": 130.0})
    write_record(setting(tmp_path).run_folder(configuration("vae", 0)), slow)
    longer = configuration("vae", 0, f"training.epochs={4 * configuration('vae', 0).training.epochs}")
    text = plan.describe_plan([longer], setting(tmp_path), retry=False, jobs=1)
    assert text.startswith(f"{longer.run_id}: run, about 7 min 10 s")
    two = [longer, configuration("vae", 1, f"training.epochs={longer.training.epochs}")]
    assert "about 7 min 10 s with 2 at a time" in plan.describe_plan(two, setting(tmp_path), retry=False, jobs=2)
    # The cores of this machine say nothing about those of a cluster.
    on_cluster = plan.describe_plan(two, setting(tmp_path), retry=False, jobs=None, launcher="slurm")
    assert "about 14 min 20 s one after another (the launcher slurm decides how many run at a time)" in on_cluster
    # Budgets in steps are not compared with budgets in epochs; budgets in steps are compared by their number.
    steps = configuration("vae", 1, "training.steps=40")
    assert ", about" not in plan.describe_plan([steps], setting(tmp_path), retry=False, jobs=1)
    timed = replace(slow, config=configuration("vae", 0, "training.steps=10").resolved())
    assert plan.longest_first([configuration("vae", 1, "training.steps=10"), steps], [timed])[0] == steps


def test_a_cell_that_another_process_holds_is_left_to_it(tmp_path):
    config = configuration()
    with cell_lock(setting(tmp_path).run_folder(config)):
        summary = sweep.run([config], setting(tmp_path), jobs=1)
        assert summary.elsewhere == [config.run_id]
        assert summary.ran == []
        with pytest.raises(LockedError, match="is being run by process "):
            cell.run_once(config, setting(tmp_path), lambda: None)
    assert [record.status for record in sweep.run([config], setting(tmp_path), jobs=1).ran] == ["ok"]


def test_a_cell_finished_by_another_sweep_after_it_was_planned_is_not_run_again(tmp_path):
    record = run(tmp_path)

    def load():
        raise AssertionError("run again")

    assert cell.run_once(configuration(), setting(tmp_path), load) == record


def test_memory_that_does_not_suffice_is_met_with_half_the_decodes_once(tmp_path, monkeypatch):
    original, asked, with_gradients = cell.evaluate, [], []

    def evaluate(variant, data, config, seed, **options):
        asked.append(config.decodes)
        if len(asked) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        for module in variant.modules():
            module.register_forward_pre_hook(lambda *_: with_gradients.append(torch.is_grad_enabled()))
        return original(variant, data, config, seed, **options)

    monkeypatch.setattr(cell, "evaluate", evaluate)
    record = run(tmp_path)
    assert record.status == "ok"
    assert asked == [10_000, 5_000]
    # The second evaluation also runs without gradients. A graph alone would need more memory than the first one had.
    assert set(with_gradients) == {False}
    assert "evaluation.decodes=5000" in record.warnings[0]
    assert record.config["training"]["batch_size"] == 100


def test_memory_that_never_suffices_fails_the_cell(tmp_path, monkeypatch):
    def evaluate(*arguments, **options):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(cell, "evaluate", evaluate)
    record = run(tmp_path)
    assert (record.status, record.error["type"]) == ("failed", "OutOfMemoryError")


def test_records_become_a_tidy_table(tmp_path, capsys):
    first, second = run(tmp_path, "vae", 0), run(tmp_path, "wae_mmd", 1)
    assert main(["results", "--results", str(tmp_path), "--csv", "-"]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["run_id"] for row in rows] == sorted([first.run_id, second.run_id])
    by_variant = {row["variant"]: row for row in rows}
    assert float(by_variant["vae"]["metrics.elbo"]) == first.metrics["elbo"]
    # A metric that a run does not have is an empty cell.
    assert by_variant["wae_mmd"]["metrics.elbo"] == ""
    assert by_variant["vae"]["config.network.hidden"] == "[16]"
    assert main(["results", "--results", str(tmp_path), "--parquet", str(tmp_path / "all.parquet")]) == 0
    table = pd.read_parquet(tmp_path / "all.parquet")
    pd.testing.assert_frame_equal(table, frame(read_records(tmp_path)[0]), check_dtype=False)


def test_a_terminal_whose_output_cannot_be_written_is_an_error_in_one_line(tmp_path, monkeypatch):
    class Full:
        def write(self, text):
            raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "runs").mkdir()
    monkeypatch.setattr(sys, "stdout", Full())
    with pytest.raises(UserError, match=r"^cannot write the table: No space left on device$"):
        write_table(tmp_path, Path("-"), None)


def test_a_table_that_nobody_asked_a_place_for_is_refused(tmp_path, capsys):
    (tmp_path / "runs").mkdir()
    assert main(["results", "--results", str(tmp_path)]) == 2
    assert "--csv FILE" in capsys.readouterr().err
    for flag in ("--csv", "--parquet"):
        assert main(["results", "--results", str(tmp_path), flag, "/proc/no/such"]) == 2
        assert capsys.readouterr().err.startswith("error: cannot write /proc/no/such: ")
    assert main(["results", "--results", str(tmp_path), "--csv", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"error: cannot write {tmp_path}: Is a directory\n"


def test_results_folders_merge_by_copying(tmp_path):
    run(tmp_path / "one", "vae", 0)
    run(tmp_path / "two", "vae", 1)
    for path in (tmp_path / "two" / "runs").iterdir():
        path.rename(tmp_path / "one" / "runs" / path.name)
    assert [record.seed for record in read_records(tmp_path / "one")[0]] == [0, 1]
    assert plan.to_do([configuration("vae", 1)], setting(tmp_path / "one"), False) == {
        configuration("vae", 1).run_id: "done (ok)"
    }


def test_a_record_of_another_schema_is_refused_with_a_message_and_kept(tmp_path):
    record = run(tmp_path)
    path = setting(tmp_path).run_folder(configuration()) / "record.json"
    plain = json.loads(path.read_text()) | {"schema": 0}
    path.write_text(json.dumps(plain))
    records, messages = read_records(tmp_path)
    assert records == []
    assert "schema 0 is not 1" in messages[0]
    assert plan.to_do([configuration()], setting(tmp_path), retry=False) == {
        record.run_id: "run again (its record is invalid)"
    }
    assert path.exists()
    assert sweep.run([configuration()], setting(tmp_path), jobs=1).failed == []
    assert json.loads(path.with_name("record.json.unreadable").read_text())["run_id"] == record.run_id


def test_tensorboard_is_written_when_asked_for_and_not_otherwise(tmp_path, monkeypatch):
    # No data set for outliers is available to any of these runs.
    monkeypatch.setenv("VAE_DATA_ROOT", str(setting(tmp_path).data_root))
    assert bench(tmp_path, "--variants", "vae", "--seeds", "0") == 0
    assert bench(tmp_path, "--variants", "vae", "--seeds", "1", "--tracker", "tensorboard") == 0
    without, with_events = (setting(tmp_path).run_folder(configuration("vae", seed)) for seed in (0, 1))
    assert not (without / "tensorboard").exists()
    assert list((with_events / "tensorboard").glob("events.out.tfevents.*"))
    # The tracker is not a part of the configuration: run id and metrics are the same as without it.
    assert read_record(with_events / "record.json").metrics == run(tmp_path / "plain", "vae", 1).metrics


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tracker", "wandb"], "unknown tracker 'wandb'"),
        (["--launcher", "slrum"], "unknown launcher 'slrum'; did you mean 'slurm'?"),
        (["--timeout", "-3"], "--timeout must be a number of seconds above 0, got '-3'"),
        (
            ["--launcher", "processes", "--timeout", "5"],
            "--jobs and --timeout (JOBS, TIMEOUT) do not apply with --launcher",
        ),
    ],
)
def test_bad_input_is_refused_in_one_line(tmp_path, capsys, arguments, message):
    assert main([*BENCH, "--variants", "vae", "--results", str(tmp_path / "r"), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
