"""Locks of files that several processes share."""

import errno
import fcntl
import os

import pytest

from benchmarks import files
from benchmarks.files import locked


@pytest.fixture(autouse=True)
def _nothing_said():
    files._say_without_locks.cache_clear()


def test_a_lock_is_held_while_the_block_runs_and_free_after_it(tmp_path):
    path = tmp_path / "deep" / "lock"
    with locked(path) as held, path.open() as other:
        assert held
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with path.open() as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_used_without_and_named_once(tmp_path, monkeypatch, caplog, number):
    def refuse(file, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    for name in ("a", "b"):
        with locked(tmp_path / name) as held:
            assert not held
    (message,) = caplog.messages
    assert f"the file system of {tmp_path} does not support locks ({os.strerror(number)})" in message


def test_an_error_of_the_block_is_not_taken_for_one_of_the_lock(tmp_path):
    with pytest.raises(OSError, match="disk"), locked(tmp_path / "lock"):
        raise OSError(errno.ENOLCK, "disk")


def test_where_no_lock_can_be_made_the_block_runs_without(tmp_path):
    (tmp_path / "file").write_text("")
    with locked(tmp_path / "file" / "lock") as held:
        assert not held
