"""A run is locked by one process at a time, on file systems with locks, and lock files are removed."""

import errno
import fcntl

import pytest

from benchmarks.files import locked, remove_temporary, write_atomically
from benchmarks.sweep import runner as sweep
from benchmarks.sweep.locks import LOCK_FILE, LockedError, cell_lock

from ..cells import configuration, setting


def test_one_holds_it_and_the_other_is_told_who(tmp_path):
    with cell_lock(tmp_path), pytest.raises(LockedError, match="is being run by process "), cell_lock(tmp_path):
        raise AssertionError("held twice")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / LOCK_FILE).write_text("of a process that was killed")
    with cell_lock(tmp_path):
        assert (tmp_path / LOCK_FILE).read_text().startswith("process ")
    assert list(tmp_path.iterdir()) == []


def test_a_lock_whose_file_was_removed_meanwhile_is_taken_on_the_new_one(tmp_path, monkeypatch):
    """The previous holder removes the lock file after this process has opened it, and before it locks it."""
    flock, calls = fcntl.flock, []

    def late(file, how):
        flock(file, how)
        calls.append(how)
        if len(calls) == 1:
            (tmp_path / LOCK_FILE).unlink()

    monkeypatch.setattr(fcntl, "flock", late)
    with cell_lock(tmp_path):
        monkeypatch.undo()
        with pytest.raises(LockedError), cell_lock(tmp_path):
            pass
    assert len(calls) == 2


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_worked_on_and_the_log_says_so(tmp_path, monkeypatch, caplog, number):
    def unknown(file, how):
        raise OSError(number, "no locks here")

    monkeypatch.setattr(fcntl, "flock", unknown)
    entered = []
    with cell_lock(tmp_path):
        entered.append("cell")
    with locked(tmp_path / "cache.lock"):
        entered.append("cache")
    assert entered == ["cell", "cache"]
    assert "locks are not supported (no locks here): do not run a second sweep on this folder" in caplog.text


def test_a_full_disk_when_the_lock_is_made_fails_the_cell_and_not_the_sweep(tmp_path, monkeypatch):
    def full(folder):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("benchmarks.sweep.cell.cell_lock", full)
    cells = [configuration("vae", seed) for seed in (0, 1)]
    summary = sweep.run(cells, setting(tmp_path), jobs=1)
    assert [record.status for record in summary.ran] == ["failed", "failed"]
    assert "No space left on device" in sweep.outcome(summary.ran[0])


def test_a_disk_that_takes_the_file_and_not_its_content_is_locked(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("benchmarks.sweep.locks.os.write", full)
    with cell_lock(tmp_path), pytest.raises(LockedError, match="another process"), cell_lock(tmp_path):
        pass


def test_temporary_files_of_killed_processes_are_removed_and_no_others(tmp_path):
    for name in (".record.json.x_1.tmp", "mine.tmp", ".hidden"):
        write_atomically(tmp_path / name, b"x")
    remove_temporary(tmp_path, older_than=60)
    assert len(list(tmp_path.iterdir())) == 3
    remove_temporary(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"mine.tmp", ".hidden"}
