"""Files written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from runtime.errors import FileError
from runtime.system import lock, regular_file

_LONGEST_NAME = 255
"""Bytes that the usual file systems allow a name."""

_unfinished: set[Path] = set()
_cleared: set[Path] = set()
_NAME = re.compile(r"\.([1-9][0-9]{0,9})-[0-9a-f]{16}\.tmp")


def check_place(path: str | os.PathLike[str]) -> None:
    """Check, before any work, that a file can be written.

    Raises:
        FileError: its folder is missing or not writable; it is a folder, or a device that cannot
            be written to.
    """
    try:
        target = Path(os.path.realpath(path))
    except ValueError:
        raise FileError(f"cannot write '{path}': no system takes such a name") from None
    folder = target.parent if os.path.islink(path) else Path(path).parent  # as the user names it
    if os.path.isdir(target):
        raise FileError(f"cannot write '{path}': it is a folder")
    if _is_stream(path):
        if not os.access(path, os.W_OK):
            raise FileError(f"cannot write '{path}': it is not writable")
    elif not os.path.isdir(target.parent):
        raise FileError(f"cannot write '{path}': the folder '{folder}' does not exist")
    elif not os.access(target.parent, os.W_OK | os.X_OK):
        raise FileError(f"cannot write '{path}': the folder '{folder}' is not writable")
    elif len(os.fsencode(target.name)) > _LONGEST_NAME:
        raise FileError(f"cannot write '{path}': the name has more than {_LONGEST_NAME} bytes")


def check_folder(path: str | os.PathLike[str]) -> None:
    """Check, before any work, that files can be written into a folder, made where missing.

    Raises:
        FileError: the folder, or the nearest one above it that exists, is not writable.
    """
    standing = Path(os.path.realpath(path))
    while not os.path.exists(standing):
        standing = standing.parent
    if not os.access(standing, os.W_OK | os.X_OK):
        raise FileError(f"cannot write into '{path}': the folder is not writable")


def write(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to a file with `replacement`; a device or pipe is written to directly.

    Raises:
        OSError: the folder is missing or not writable, or the disk is full.
    """
    if _is_stream(path):
        with open(path, "wb") as stream:
            stream.write(data)
        return
    with replacement(path) as temporary:
        temporary.write_bytes(data)


def write_cached(path: Path, data: bytes) -> None:
    """Write a file of a cache as `write` does; a pipe, a device or a link in its place goes.

    Raises:
        OSError: a folder is in its place, or as `write`.
    """
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(os.lstat(path).st_mode):
            path.unlink()
    with replacement(path) as temporary:
        temporary.write_bytes(data)


@contextlib.contextmanager
def output_file(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Give an empty file that can be sought and becomes `path` after the block, as in `write`.

    Raises:
        OSError: as `write`.
    """
    if _is_stream(path):
        with tempfile.TemporaryFile() as file, open(path, "wb") as stream:
            yield file
            file.seek(0)
            shutil.copyfileobj(file, stream)
        return
    with replacement(path) as temporary, temporary.open("w+b") as file:
        yield file


def _is_stream(path: str | os.PathLike[str]) -> bool:
    """Whether the path is a device or pipe.

    The path is not resolved: the pipe behind /dev/stdout, or of a shell's >(command), has no other.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):  # there is nothing, or nothing this user may see
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


@contextlib.contextmanager
def replacement(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary file to write, which replaces `path` after the block.

    It is in the same folder; after the block it is synced to disk and renamed. On any failure (a
    full disk, Ctrl-C) it is removed and an older file stays. Permissions follow the umask; a link
    is followed.

    Raises:
        OSError: the folder is missing or not writable, or the disk is full; it names `path`.
    """
    target = Path(os.path.realpath(path))
    temporary = _temporary(target.parent)
    held = None
    try:
        held = _create(temporary)
        yield temporary
        with temporary.open("r+b") as file:  # Windows syncs no handle that cannot write
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException as error:
        with contextlib.suppress(OSError):  # the folder may be gone, or no longer writable
            temporary.unlink()
        if isinstance(error, OSError) and str(error.filename) == str(temporary):
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error
        raise
    finally:
        if held is not None:
            os.close(held)
        _unfinished.discard(temporary)


@contextlib.contextmanager
def scratch(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give an empty temporary file in the folder of `path`, which is removed after the block."""
    temporary = _temporary(Path(os.path.realpath(path)).parent)
    held = None
    try:
        held = _create(temporary)
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
        if held is not None:
            os.close(held)
        _unfinished.discard(temporary)


def clear_abandoned(folder: str | os.PathLike[str]) -> None:
    """Remove the temporary files that killed processes have left in a folder.

    Only files of `is_temporary`'s names, whose process is dead and whose lock nobody holds. Where a
    system has no such locks, none are removed. A folder that cannot be listed is left as it is.
    """
    if not lock.EXISTS:
        return
    for path, process in _temporaries(folder):
        if not _is_alive(process):
            _remove_free(path)


def clear_ended(folder: str | os.PathLike[str], process: int) -> None:
    """Remove the temporary files that a process has left in a folder; it has ended.

    A process in another container may have the same number: what is locked stays, as all does on a
    disk without locks.
    """
    for path, owner in _temporaries(folder):
        if owner == process:
            _remove_free(path)


def is_temporary(name: str) -> bool:
    """Whether a file's name is that of a temporary file of ours."""
    return _NAME.fullmatch(name) is not None


def _temporaries(folder: str | os.PathLike[str]) -> Iterator[tuple[str, int]]:
    """The temporary files in a folder and their processes; none where it cannot be listed."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            named = _NAME.fullmatch(entry.name)
            if named is not None and entry.is_file(follow_symlinks=False):
                yield entry.path, int(named[1])


def _temporary(folder: Path) -> Path:
    """A name for a temporary file in a folder, which is cleared when this process first comes."""
    if folder not in _cleared:
        _cleared.add(folder)
        clear_abandoned(folder)
    temporary = folder / f".{os.getpid()}-{secrets.token_hex(8)}.tmp"
    _unfinished.add(temporary)
    return temporary


def _create(temporary: Path) -> int | None:
    """Create a temporary file; its descriptor, which holds its lock, where there are locks."""
    if not lock.EXISTS:  # an open file could not be renamed there
        temporary.touch(exist_ok=False)
        return None
    while True:
        handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o666)
        with contextlib.suppress(OSError):  # a file system without locks
            lock.lock(handle, wait=True)
        # Another process may have taken it for abandoned, and removed it before it was locked.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.stat(temporary), os.fstat(handle)):
                return handle
        os.close(handle)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _remove_free(path: str) -> None:
    """Remove a temporary file unless somebody holds its lock; what cannot be removed stays."""
    with contextlib.suppress(OSError):
        if not lock.EXISTS:  # an open file could not be removed there
            os.unlink(path)
            return
        with regular_file.open_file(path, links=False) as file:
            if lock.lock(file.fileno(), wait=False):
                os.unlink(path)


def discard_unfinished() -> None:
    """Remove this process's temporary files; for a process that exits without unwinding."""
    for temporary in tuple(_unfinished):
        with contextlib.suppress(OSError):
            temporary.unlink()
