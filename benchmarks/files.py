"""Files that several processes share: written whole or not at all, and by one process at a time.

Imports nothing of ours, so that anything may import it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path


def write_atomically(path: Path, data: bytes) -> None:
    """Write ``path`` so that a kill at any moment leaves the old file or the new one, never a part.

    The bytes reach the disk before the rename, and the rename before the return.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold ``path`` while the block runs, so that of several processes one does the work and the others find it done.

    In a folder that cannot be written, and on a file system without locks, nothing is locked: nothing will be written
    there, or several processes do the same work.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    except OSError:
        yield
        return
    with file:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def remove_temporary(folder: Path, older_than: float = 0.0) -> None:
    """Remove what :func:`write_atomically` left in ``folder`` when it was killed: temporary files that are
    ``older_than`` so many seconds. At 0 nobody else may be writing there."""
    for path in folder.glob(".*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime >= older_than:
                path.unlink()
