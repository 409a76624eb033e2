"""Injected faults: no run is lost or counted twice, and after the next start, the runs end with the same metrics."""

import csv
import errno
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.errors import UserError
from benchmarks.records.record import read_record, read_records
from benchmarks.sealed import read_sealed
from benchmarks.sweep import runner as sweep
from benchmarks.sweep.cell import finished, run_once
from benchmarks.training.checkpoint import WEIGHTS_FILE

from ..cells import configuration, digits, run, setting, threads_of_two_workers

REPOSITORY = Path(__file__).resolve().parents[3]
# A process that takes longer is considered to hang, even on a busy machine.
SECONDS = 300
# Runs that are long enough to be interrupted while they train.
LONG = ["network.hidden=[16]", "network.latent_size=4", "training.epochs=200", "training.validate_every=200"]


def bench(folder, jobs, *arguments):
    command = ["bench", "--variants", "vae,beta_vae", "--datasets", "digits", "--profile", "smoke", "--no-report"]
    return [*command, "--jobs", str(jobs), "--results", str(folder), *arguments, *LONG]


def start(folder, jobs=2, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks", *bench(folder, jobs)], cwd=REPOSITORY,
        env=os.environ | {"VAE_CHECKPOINT_SECONDS": "0"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # children of nohup ignore SIGINT
        **options,
    )  # fmt: skip


def wait_for(condition, seconds=SECONDS):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.05)
    return found


def checkpoints(folder):
    """The checkpoints written after at least one epoch."""
    return list((folder / "runs").glob("*/checkpoint-*[1-9]*.safetensors"))


def workers_of(process):
    """The ids of the worker processes of a sweep (without the resource tracker of multiprocessing)."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
            command = (entry.parent / "cmdline").read_text()
        except OSError:
            continue
        if int(fields[1]) == process.pid and "spawn_main" in command and fields[0] != "Z":
            found.append(int(entry.parent.name))
    return found


def metrics_when_finished_here(folder, *arguments):
    """The metrics after the same command was run again, in this process, which saves the start of new ones."""
    with threads_of_two_workers():
        assert main(bench(folder, 1, *arguments)) == 0
    return metrics_by_variant(folder)


def metrics_by_variant(folder):
    records, messages = read_records(folder)
    assert messages == []
    assert {record.status for record in records} == {"ok"}
    return {record.variant: record.metrics for record in records}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return metrics_when_finished_here(tmp_path_factory.mktemp("undisturbed"))


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes through /proc")


@needs_proc
def test_a_worker_killed_in_mid_run_fails_its_cell_alone_and_a_retry_goes_on(tmp_path, undisturbed):
    process = start(tmp_path)
    wait_for(lambda: checkpoints(tmp_path))
    os.kill(workers_of(process)[0], signal.SIGKILL)
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 1, output
    assert sorted(record.status for record in read_records(tmp_path)[0]) == ["failed", "ok"]
    assert "killed" in output
    assert metrics_when_finished_here(tmp_path, "--retry") == undisturbed


@needs_proc
@pytest.mark.parametrize(("number", "status"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_sweep_that_is_stopped_leaves_no_worker_and_goes_on_when_started_again(tmp_path, undisturbed, number, status):
    process = start(tmp_path)
    wait_for(lambda: checkpoints(tmp_path))
    workers = workers_of(process)
    assert workers
    process.send_signal(number)
    process.wait(timeout=SECONDS)
    process.stdout.close()
    assert process.returncode == status
    # Workers that survive would keep the locks of their runs, and the next sweep could not run them.
    wait_for(lambda: not any(Path(f"/proc/{worker}/cmdline").exists() for worker in workers))
    assert checkpoints(tmp_path)
    assert metrics_when_finished_here(tmp_path) == undisturbed


@needs_proc
def test_five_interrupts_in_a_row_end_it_once_and_quietly(tmp_path):
    """As from a terminal: each interrupt is sent to all processes of the sweep, including workers that still import."""
    process = start(tmp_path, start_new_session=True)
    workers = wait_for(lambda: workers_of(process))
    for _ in range(5):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.05)
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    assert "Traceback" not in output
    assert output.splitlines()[-1].startswith("interrupted: run the same command again")
    wait_for(lambda: not any(Path(f"/proc/{worker}/cmdline").exists() for worker in workers))


@needs_proc
@pytest.mark.slow
def test_runs_killed_at_random_moments_end_bit_for_bit_as_undisturbed_ones(tmp_path):
    """Kill all processes of a sweep at random moments, up to ten times, and start the sweep again after each kill.

    Weights, histories and metrics are those of an undisturbed sweep.
    """
    names = "vae,vq_vae,wae_mmd,iwae"
    small = ["training.epochs=30", "training.select=validation", "network.hidden=[16]", "network.latent_size=4"]

    def command(folder):
        common = ["--variants", names, "--datasets", "digits", "--profile", "smoke", "--jobs", "2", "--no-report"]
        return [sys.executable, "-m", "benchmarks", "bench", *common, "--results", str(folder), *small]

    def started(folder):
        environment = os.environ | {"VAE_CHECKPOINT_SECONDS": "0"}
        # The default number of threads, so that a change of this number would change the results.
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            environment.pop(name, None)
        return subprocess.Popen(
            command(folder), cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, start_new_session=True,
        )  # fmt: skip

    plain = started(tmp_path / "undisturbed")
    output, _ = plain.communicate(timeout=SECONDS)
    assert plain.returncode == 0, output
    chance, kills = random.Random(0), 0
    while True:
        process = started(tmp_path / "killed")
        if kills < 10:
            # The random delay begins when the sweep writes a file. Before that, there is nothing to interrupt.
            before = written(tmp_path / "killed")
            wait_for(lambda p=process, b=before: p.poll() is not None or written(tmp_path / "killed") != b)
            time.sleep(chance.uniform(0, 3))
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                kills += 1
        output, _ = process.communicate(timeout=SECONDS)
        if process.returncode != -signal.SIGKILL:
            break
    assert process.returncode == 0, output
    assert kills >= 3
    records = (tmp_path / "undisturbed" / "runs").glob("*/record.json")
    pairs = [(path, tmp_path / "killed" / path.relative_to(tmp_path / "undisturbed")) for path in records]
    assert len(pairs) == 4
    resumed = 0
    for one, other in pairs:
        first, second = read_record(one), read_record(other)
        assert second.metrics == first.metrics
        assert second.environment["threads"] == first.environment["threads"]
        assert digest_of_weights(other.parent) == digest_of_weights(one.parent)
        assert history(other.parent) == history(one.parent)
        resumed += bool(second.details["resumed_after_epochs"])
        assert {path.name for path in other.parent.iterdir()} == {path.name for path in one.parent.iterdir()}
    assert resumed


def written(folder):
    """The files of all runs, with their modification times."""
    return {path: path.stat().st_mtime_ns for path in (folder / "runs").glob("*/[!.]*")}


def digest_of_weights(folder):
    tensors = read_sealed(folder / WEIGHTS_FILE).tensors
    return {name: hashlib.sha256(tensor.numpy().tobytes()).hexdigest() for name, tensor in tensors.items()}


def history(folder):
    rows = csv.DictReader((folder / "history.csv").read_text().splitlines())
    return [{key: value for key, value in row.items() if "second" not in key} for row in rows]


def test_two_sweeps_over_one_folder_share_the_cells(tmp_path, undisturbed):
    processes = [start(tmp_path, jobs=1) for _ in range(2)]
    outputs = [process.communicate(timeout=SECONDS)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert metrics_by_variant(tmp_path) == undisturbed
    # Both sweeps report that nothing failed.
    assert all(", 0 failed" in output for output in outputs)


def test_a_cell_that_takes_too_long_is_stopped_and_fails(tmp_path):
    cells = [configuration("vae", 0, "training.epochs=1000000", "training.validate_every=1000000")]
    (record,) = sweep.run(cells, setting(tmp_path), timeout=1.0).ran
    assert (record.status, record.error["type"]) == ("failed", "TimeoutError")
    assert record.error["message"] == "the run exceeded its time limit of 1 s"


def test_a_full_disk_at_any_write_loses_no_cell(tmp_path, monkeypatch):
    expected = run(tmp_path / "plain").metrics
    monkeypatch.setenv("VAE_CHECKPOINT_SECONDS", "0")
    original, writes = os.fsync, 0

    def fsync(descriptor):
        nonlocal writes
        writes += 1
        if writes >= full_from:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(descriptor)

    monkeypatch.setattr("benchmarks.files.os.fsync", fsync)
    full_from = 10**9
    run(tmp_path / "counted")
    total = writes
    for full_from in (1, 4, total // 2, total - 1):
        folder, writes = tmp_path / str(full_from), 0
        summary = sweep.run([configuration()], setting(folder), jobs=1)
        assert [record.status for record in summary.ran] == ["failed"]
        assert "No space left" in summary.ran[0].error["message"]
        assert not list(folder.rglob("*.tmp"))
        # Once there is space again, the same command continues. It needs retry, as the failed record may be written.
        full_now, full_from = full_from, 10**9
        (record,) = sweep.run([configuration()], setting(folder), retry=True, jobs=1).ran
        assert record.metrics == expected, full_now
        assert record.warnings == []


def test_data_deleted_in_mid_run_fail_the_cell_and_their_return_mends_it(tmp_path):
    def gone():
        raise UserError("MNIST: train-images-idx3-ubyte not there")

    record = run_once(configuration(), setting(tmp_path), gone)
    assert (record.status, record.error["type"]) == ("failed", "DataMissing")
    assert finished(configuration(), setting(tmp_path)) == record
    assert run_once(configuration(), setting(tmp_path), digits, retry=True).status == "ok"
