"""Files that several processes share: atomic writes, and locks that let one process at a time write.

Imports no other module of the suite, so that all of them can import it.
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

# Error codes of file systems without locks, such as some network and FUSE file systems.
WITHOUT_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
# Age in seconds after which a temporary file counts as abandoned, because no write takes that long. The age is needed
# because the folder of all runs has no lock.
ABANDONED_SECONDS = 3600.0


def write_atomically(path: Path, data: bytes) -> None:
    """Write ``path`` so that a kill at any moment leaves either the old or the new file, never a partial one.

    The bytes are flushed to disk before the file is renamed, and the rename before the function returns.
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
    """Hold a lock on ``path``, a lock file or an existing folder, while the block runs. If several processes need the
    same result, one of them computes it and the others wait. Yields whether the lock is held.

    If the lock file cannot be opened, as in a read-only folder, nothing is locked: nothing can be written there either.
    On a file system without locks, nothing is locked and one warning is logged.
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
    """Open a lock file or folder. Read-only access, as to the file of another user, is enough to lock it."""
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
        # NFS returns EBADF for a file that is open only for reading.
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
    """Remove temporary files that killed calls of :func:`write_atomically` left in ``folder``, if they are at least
    ``older_than`` seconds old. With 0, no other process may be writing in the folder."""
    for path in folder.glob(".*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime >= older_than:
                path.unlink()
