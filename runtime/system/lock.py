"""Locks between processes; one ends with the process that holds it, however that ends.

Systems without `fcntl`, as Windows, go without locks.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]


EXISTS = fcntl is not None
"""Whether this system has these locks."""

_NONE_HERE = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)


class NoLocksError(OSError):
    """The disk has no locks, as some network file systems."""


def lock(descriptor: int, *, wait: bool) -> bool:
    """Lock an open file or folder until its descriptor is closed.

    Args:
        descriptor: of the file or folder.
        wait: until another process gives the lock up; without, False means that one holds it.

    Raises:
        NoLocksError: the disk has none.
        OSError: the descriptor is not open.
    """
    if fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in _NONE_HERE:
                raise NoLocksError(error.errno, error.strerror) from error
            raise
    return True


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder's lock, where its disk has locks; another process that asks for it waits.

    Raises:
        OSError: there is no such folder.
    """
    if fcntl is None:  # where folders cannot be opened either
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(NoLocksError):
            lock(descriptor, wait=True)
        yield
    finally:
        os.close(descriptor)
