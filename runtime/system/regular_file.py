"""Reads regular files only: a pipe, a device or a link in a file's place ends at once in an error.

What a system does not have (on Windows links, pipes and owners of this kind) is not checked there.
"""

from __future__ import annotations

import errno
import io
import os
import stat

from runtime.system import machine

# A pipe without a writer must not block, and a terminal must not become this process's.
_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_BINARY", 0)
)


def open_file(path: str | os.PathLike[str], *, links: bool = True) -> io.FileIO:
    """Open a regular file for reading, unbuffered.

    Args:
        path: its name.
        links: follow a link at the name's end.

    Raises:
        OSError: there is none, or it is something else; `strerror` says what is wrong.
    """
    flags = _FLAGS if links else _FLAGS | getattr(os, "O_NOFOLLOW", 0)
    try:
        handle = os.open(path, flags)
    except OSError as error:
        if error.errno != errno.ENXIO:  # of a socket
            raise
        raise _not_a_file(path) from None
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return io.FileIO(handle)
    os.close(handle)
    raise _not_a_file(path)


def read(
    path: str | os.PathLike[str], most: int, *, links: bool = True, private: bool = False
) -> bytes:
    """The bytes of a regular file, read once.

    Args:
        path: its name.
        most: largest file that is read, in bytes.
        links: follow a link at the name's end.
        private: refuse a file of another user, or one that others can write to.

    Raises:
        OSError: as `open_file`, it is too large, or it became shorter meanwhile.
    """
    with open_file(path, links=links) as file:
        if private:
            _check_private(file, path)
        return read_open(file, most)


def read_open(file: io.FileIO, most: int) -> bytes:
    """The bytes of a file of `open_file`.

    Raises:
        OSError: it has more than `most` bytes or than fit into memory, or it became shorter.
    """
    size, name = os.fstat(file.fileno()).st_size, str(file.name)
    free = machine.available_memory()
    if size > most:
        raise OSError(errno.EFBIG, f"it has {size} bytes, the limit is {most}", name)
    if free is not None and size > free:
        raise OSError(errno.ENOMEM, f"it has {size} bytes, and {free} are free", name)
    data = io.BufferedReader(file).read(size)
    if len(data) < size:
        raise OSError(errno.EIO, "the file became shorter while it was read", name)
    return data


def _check_private(file: io.FileIO, path: str | os.PathLike[str]) -> None:
    status = os.fstat(file.fileno())
    if hasattr(os, "getuid") and (status.st_uid != os.getuid() or status.st_mode & 0o022):
        raise OSError(errno.EPERM, "others can write to it", os.fspath(path))


def _not_a_file(path: str | os.PathLike[str]) -> OSError:
    return OSError(errno.EINVAL, "it is not a file", os.fspath(path))
