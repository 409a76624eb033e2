"""Parallel runs have the same metrics as single ones, and a worker that dies only causes a failed record."""

import dataclasses
import os
import signal
import threading
import time
from types import SimpleNamespace

import pytest

from benchmarks.__main__ import main
from benchmarks.progress import screen
from benchmarks.records.record import read_record, read_records, write_record
from benchmarks.sweep import runner as sweep
from benchmarks.sweep import workers
from benchmarks.sweep.cell import FAILED_STEPS

from ..cells import SMALL, configuration, run, setting, threads_of_two_workers


def test_cells_side_by_side_have_the_metrics_they_have_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(screen, "MINUTE", 0.2)
    # Outliers are loaded from this folder. It is the empty one that the single runs use.
    monkeypatch.setenv("VAE_DATA_ROOT", str(setting(tmp_path).data_root))
    with threads_of_two_workers():
        alone = [run(tmp_path / "alone", name).metrics for name in ("vae", "iwae")]
    options = ["--results", str(tmp_path / "both"), "--no-report", "--jobs", "2"]
    cells = ["--variants", "vae,iwae", "--datasets", "digits", "--profile", "smoke"]
    assert main(["bench", *cells, *options, *SMALL]) == 0
    records = {record.variant: record for record in read_records(tmp_path / "both")[0]}
    assert [records[name].metrics for name in ("vae", "iwae")] == alone
    # The workers reported the state of their runs: the output has lines for each run and for the sweep.
    lines = capsys.readouterr().out.splitlines()
    ids = [record.run_id for record in records.values()]
    assert sorted(line for line in lines if line.endswith(": started")) == [
        f"[{number}/2] {run_id}: started" for number, run_id in enumerate(sorted(ids, key=lambda i: "iwae" in i), 1)
    ]
    assert len([line for line in lines if line.startswith(("[1/2]", "[2/2]")) and "elbo" in line]) == 2
    assert any(line.startswith(tuple(ids)) and ("epoch" in line or "evaluating" in line) for line in lines)
    assert any(line.startswith("0 of 2 runs finished, 2 running") for line in lines)


def dies(*arguments):
    os.kill(os.getpid(), 9)


def leaves_the_record(*arguments):
    """Ends as a run whose retry failed: the earlier record stays, and the exit code is 0."""


def sleeps(*arguments):
    time.sleep(60)


def test_a_killed_worker_leaves_a_failed_record_and_the_others_go_on(tmp_path, monkeypatch):
    work = workers._work
    cells = [configuration("vae"), configuration("iwae")]

    class Context:
        """Replaces the first worker by one that kills itself."""

        def __init__(self, context):
            self.context, self.started = context, 0

        def Process(self, target, args):  # noqa: N802 - the name that multiprocessing gives it
            self.started += target is work
            killed = target is work and self.started == 1
            return self.context.Process(target=dies if killed else target, args=args)

    original = workers.multiprocessing.get_context
    monkeypatch.setattr(workers.multiprocessing, "get_context", lambda method: Context(original(method)))
    summary = sweep.run(cells, setting(tmp_path), jobs=2)
    status = {record.variant: record.status for record in summary.ran}
    assert status == {"vae": "failed", "iwae": "ok"}
    (failed,) = summary.failed
    assert failed.error["message"].startswith("the worker process ended with exit code -9 (killed")
    # If the sweep is started again with ``retry``, only the failed run is repeated.
    assert {r.variant for r in sweep.run(cells, setting(tmp_path), retry=True, jobs=1).ran} == {"vae"}
    assert {record.status for record in read_records(tmp_path)[0]} == {"ok"}


def test_a_retry_that_fails_is_killed_or_takes_too_long_failed_and_leaves_the_earlier_record(tmp_path, monkeypatch):
    config = configuration("vae")
    record = run(tmp_path)
    kept = dataclasses.replace(record, details=record.details | {FAILED_STEPS: {"pictures": {"reason": "broken"}}})
    path = setting(tmp_path).run_folder(config)
    write_record(path, kept)
    monkeypatch.setattr(workers, "_work", dies)
    summary = sweep.run([config], setting(tmp_path), retry=True, timeout=1000)
    assert [failed.error["type"] for failed in summary.failed] == ["WorkerDied"]
    monkeypatch.setattr(workers, "_work", leaves_the_record)
    summary = sweep.run([config], setting(tmp_path), retry=True, timeout=1000)
    assert [failed.error["message"] for failed in summary.failed] == ["the run failed again (see the log)"]
    monkeypatch.setattr(workers, "_work", sleeps)
    summary = sweep.run([config], setting(tmp_path), retry=True, timeout=2)
    assert [failed.error["type"] for failed in summary.failed] == ["TimeoutError"]
    assert read_record(path / "record.json").status == "ok"


def test_a_time_limit_of_more_days_than_the_system_can_wait_is_accepted(tmp_path, monkeypatch):
    assert [record.status for record in sweep.run([configuration()], setting(tmp_path), timeout=1e9).ran] == ["ok"]


def test_an_interrupt_that_another_thread_receives_waits_until_a_worker_has_started():
    """The signal mask of the main thread does not delay it: Python runs handlers in the main thread all the same."""
    started, end = [], threading.Event()
    other = threading.Thread(target=end.wait)
    other.start()

    class Process:
        def __init__(self, **options):
            pass

        def start(self):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)
            started.append(True)

    # The children of nohup ignore SIGINT.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            workers._start(SimpleNamespace(Process=Process), print, (), print)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
        end.set()
        other.join()
    assert started
