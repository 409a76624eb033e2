"""One process at a time: locks that the system gives back when their holder dies, however it dies."""

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
    """Another process runs this cell; the message says which."""


@contextlib.contextmanager
def cell_lock(run_folder: Path) -> Iterator[None]:
    """Hold the cell of ``run_folder`` while the block runs. Raises :class:`LockedError` where another process has it,
    and ``OSError`` where there can be no such file.

    An advisory lock of the file system (flock), local or shared between machines (NFS 4): it ends with the process that
    holds it, however that ends. Its file is removed at the end, and that of a killed process with the next holder's. On
    a file system without locks nothing is locked, and the log says so.
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
                # Its holder removed it between the opening and the lock: what is locked here is no longer the file.
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
    # For people, and so not worth a run on a full disk. Past Python's buffer, which would try again on closing.
    with contextlib.suppress(OSError):
        os.ftruncate(file.fileno(), 0)
        os.write(file.fileno(), f"process {os.getpid()} on {socket.gethostname()}\n".encode())
