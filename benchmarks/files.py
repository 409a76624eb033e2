"""Files that several processes share: written whole or not at all, and by one process at a time.

Imports nothing of ours, so that anything may import it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

log = logging.getLogger(__name__)

# What a file system answers that cannot lock: some network and FUSE file systems.
WITHOUT_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
# No write takes as many seconds; nobody holds a lock on the folders of all runs.
ABANDONED_SECONDS = 3600.0


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
def locked(path: Path) -> Iterator[bool]:
    """Hold ``path``, a file made for that or a folder that is there, while the block runs, so that of several processes
    one does the work and the others find it done. Yields whether it is held.

    In a folder that cannot be written nothing is locked: nothing will be written there. A file system that has no locks
    is used without, and the log says so once.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = _lock_file(path)
    except OSError:
        yield False
        return
    try:
        yield _lock(file, path.parent)
    finally:
        os.close(file)


def _lock_file(path: Path) -> int:
    """The lock file of another user may be read-only, which is enough to lock it; so may a folder."""
    if path.is_dir():
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except PermissionError:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _lock(file: int, folder: Path) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        # EBADF: by NFS, for a file that is open for reading.
        if error.errno not in (*WITHOUT_LOCKS, errno.EINVAL, errno.EBADF):
            raise
        _say_without_locks(folder, error.strerror)
        return False
    return True


@functools.cache
def _say_without_locks(folder: Path, reason: str) -> None:
    log.warning(
        "the file system of %s does not support locks (%s): do not start two sweeps on it at the same time",
        folder,
        reason,
    )


def remove_temporary(folder: Path, older_than: float = 0.0) -> None:
    """Remove what :func:`write_atomically` left in ``folder`` when it was killed: temporary files that are
    ``older_than`` so many seconds. At 0 nobody else may be writing there."""
    for path in folder.glob(".*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime >= older_than:
                path.unlink()
