"""Locks that let one process at a time run a cell. The system releases them when their holder ends for any reason."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path

from benchmarks.files import WITHOUT_LOCKS

log = logging.getLogger(__name__)

LOCK_FILE = ".lock"


class LockedError(RuntimeError):
    """Another process runs this cell. The message names the process."""


@contextlib.contextmanager
def cell_lock(run_folder: Path) -> Iterator[None]:
    """Lock the cell of ``run_folder`` while the block runs. Raises :class:`LockedError` if another process holds the
    lock, and ``OSError`` if the lock file cannot be created.

    This is an advisory lock of the file system (flock), local or shared between machines (NFS 4), which is released
    when its process ends for any reason. The lock file is removed at the end; the file of a killed process is removed
    by the next holder. On a file system without locks, nothing is locked and a warning is logged.
    """
    run_folder.mkdir(parents=True, exist_ok=True)
    path = run_folder / LOCK_FILE
    while True:
        with path.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise LockedError(f"is being run by {file.read().strip() or 'another process'}") from None
            except OSError as error:
                if error.errno not in WITHOUT_LOCKS:
                    raise
                log.warning(
                    "%s: locks are not supported (%s): do not run a second sweep on this folder at the same time",
                    run_folder, error.strerror,
                )  # fmt: skip
            if not _is(path, file):
                # The previous holder removed the file after it was opened here, so the lock is on a deleted file.
                continue
            _sign(file)
            try:
                yield
            finally:
                with contextlib.suppress(OSError):
                    path.unlink()
            return


def _is(path: Path, file: TextIOWrapper) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _sign(file: TextIOWrapper) -> None:
    # The text is only information, so a full disk must not stop the run. It is written without Python's buffer, which
    # would try to write it again when the file is closed.
    with contextlib.suppress(OSError):
        os.ftruncate(file.fileno(), 0)
        os.write(file.fileno(), f"process {os.getpid()} on {socket.gethostname()}\n".encode())
