"""One process at a time: locks that the system gives back when their holder dies, however it dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

LOCK_FILE = ".lock"


class LockedError(RuntimeError):
    """Another process runs this cell; the message says which."""


@contextlib.contextmanager
def cell_lock(run_folder: Path) -> Iterator[None]:
    """Hold the cell of ``run_folder`` while the block runs. Raises :class:`LockedError` where another process has it.

    An advisory lock of the file system (flock), local or shared between machines (NFS 4): it ends with the process that
    holds it, however that ends, so a lock is never left behind. The file's content is for people.
    """
    run_folder.mkdir(parents=True, exist_ok=True)
    with (run_folder / LOCK_FILE).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise LockedError(f"is being run by {file.read().strip() or 'another process'}") from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield
