"""Files by path or URL, here or in object storage: read, listed, and written whole, each once."""

from __future__ import annotations

import contextlib
import errno
import filecmp
import os
import posixpath
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from hcflow.batch import urls
from hcflow.batch.reader import guarded
from runtime.errors import FileError, one_line
from runtime.system import atomic

_WEB = ("http", "https")
_BLOCK = 1 << 20
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_EXTRAS = {"gs": "gcs", "gcs": "gcs", "az": "azure", "abfs": "azure", "abfss": "azure"}

# What S3 answers where every other request would fail as well.
_CREDENTIALS = ("ExpiredToken", "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken")


class StorageError(FileError):
    """The storage itself fails: no credentials, no connection, no room; so would any other file."""


def check(name: str) -> None:
    """Check that names of this kind can be opened here.

    Raises:
        StorageError: a package is missing, or nothing knows the scheme.
    """
    if urls.scheme_of(name) is not None:
        _remote(name)


def open_file(name: str) -> IO[bytes]:
    """A file to read.

    Raises:
        FileError: there is none, or it cannot be read; so does each read of it.
    """
    return guarded(_opened(name), lambda: _told("read", name))


def _opened(name: str) -> IO[bytes]:
    with _told("read", name):
        if urls.scheme_of(name) is None:
            return open(name, "rb")
        system, path = _remote(name)
        opened: IO[bytes] = system.open(path, "rb")
        return opened


def read(name: str) -> bytes:
    """The bytes of a small file; raises as `open_file`."""
    with open_file(name) as file:
        return file.read()


def fetch(name: str, path: str, most_bytes: int) -> None:
    """Copy a remote file to a path here.

    Raises:
        FileError: as `open_file`, or it has more bytes.
    """
    from fsspec.callbacks import Callback

    class Bounded(Callback):  # type: ignore[misc]
        def set_size(self, size: int | None) -> None:
            if size is not None and size > most_bytes:
                raise FileError(f"'{name}' has {size} bytes, and {most_bytes} are the limit")
            super().set_size(size)

        def relative_update(self, inc: int = 1) -> None:
            super().relative_update(inc)
            if self.value > most_bytes:
                raise FileError(f"'{name}' has more than the limit of {most_bytes} bytes")

    with _told("read", name):
        system, remote = _remote(name)
        system.get_file(remote, path, callback=Bounded())


def create(path: Path, name: str, *, replace: bool = False) -> None:
    """Move a finished file here to a name that is free: it is there whole, or not at all.

    A name with the same bytes is as good as free: a client that has lost the reply to a PUT sends
    it again, and meets its own file.

    Args:
        path: the file.
        name: its new name.
        replace: take a name that is not free as well.

    Raises:
        FileExistsError: the name is taken by other bytes; the file stays.
        StorageError: nothing can be written there.
        FileError: nothing can have this name.
    """
    try:
        _move(path, name, replace)
    except FileExistsError:
        if not is_same(path, name):
            raise
        path.unlink()


def _move(path: Path, name: str, replace: bool) -> None:
    if urls.scheme_of(name) is not None:
        with _told("write", name):
            system, remote = _remote(name)
            system.put_file(str(path), remote, mode="overwrite" if replace else "create")
        path.unlink()
        return
    with _told("write", name):
        with path.open("r+b") as file:  # a power cut leaves no name with nothing behind it
            os.fsync(file.fileno())
        try:
            os.makedirs(os.path.dirname(name), exist_ok=True)
        except FileExistsError:
            raise NotADirectoryError(errno.ENOTDIR, "a file is in its folder's place") from None
        if replace:
            os.replace(path, name)
            return
        try:
            os.link(path, name)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if os.path.lexists(name):  # between this and the next line another may come
                raise FileExistsError(errno.EEXIST, "it exists", name) from None
            os.rename(path, name)
            return
        path.unlink()


def create_text(text: str, name: str, work: Path) -> None:
    """`create` of a file with this text, which is first written into the folder `work`."""
    temporary = work / f"text-{os.getpid()}"
    atomic.write(temporary, text.encode())
    create(temporary, name)


def is_same(path: Path, name: str) -> bool:
    """Whether a file here has the bytes of that name; raises as `open_file`."""
    if urls.scheme_of(name) is None:
        with _told("read", name):
            return os.path.isfile(name) and filecmp.cmp(path, name, shallow=False)
    system, remote = _remote(name)
    with _told("read", name):
        if system.size(remote) != path.stat().st_size:
            return False
        with system.open(remote, "rb") as theirs, path.open("rb") as ours:
            while block := ours.read(_BLOCK):
                if theirs.read(len(block)) != block:
                    return False
    return True


def exists(name: str) -> bool:
    """Whether there is a file or folder of that name; raises `StorageError`."""
    if urls.scheme_of(name) is None:
        return os.path.exists(name)
    system, remote = _remote(name)
    with _told("read", name):
        return bool(system.exists(remote))


def is_folder(name: str) -> bool:
    """Whether a name is of a folder, or of a prefix that objects share; raises `StorageError`."""
    if urls.scheme_of(name) is None:
        return os.path.isdir(name)
    if urls.scheme_of(name) in _WEB:
        return False
    system, remote = _remote(name)
    with _told("read", name):
        return bool(system.isdir(remote))


def files_in(folder: str) -> list[str]:
    """The names of the files directly in a folder, sorted; none where there is no such folder."""
    if urls.scheme_of(folder) is None:
        if not os.path.isdir(folder):
            return []
        with _told("list", folder), os.scandir(folder) as found:
            return sorted(entry.name for entry in found if entry.is_file())
    system, remote = _remote(folder)
    with _told("list", folder):
        try:
            found = system.ls(remote, detail=True, refresh=True)
        except FileNotFoundError:
            return []
        return sorted(posixpath.basename(f["name"]) for f in found if f["type"] == "file")


def walk(folder: str) -> Iterator[str]:
    """The files under a remote folder, relative to it, a folder at a time; raises `FileError`."""
    system, remote = _remote(folder)
    start = len(remote.rstrip("/")) + 1

    def fail(error: OSError) -> None:
        raise error

    with _told("list", folder):
        for inside, folders, names in system.walk(remote, on_error=fail):
            folders.sort()
            for name in sorted(names):
                if name:  # some storage has an empty object for a folder
                    yield posixpath.join(inside, name)[start:]


def remove_folder(folder: str) -> None:
    """Remove a folder and the files directly in it."""
    if urls.scheme_of(folder) is None:
        shutil.rmtree(folder, ignore_errors=True)
        return
    system, remote = _remote(folder)
    with _told("write", folder):
        for name in files_in(folder):
            system.rm_file(f"{remote}/{name}")


def _remote(name: str) -> tuple[Any, str]:
    """Fsspec's file system for a URL, and the path in it."""
    scheme = urls.scheme_of(name)
    extra = _EXTRAS.get(scheme or "", "remote")
    install = f"pip install 'hcflow-deploy[{extra}]'"
    if find_spec("fsspec") is None:
        raise StorageError(f"'{name}' needs {install}")
    from fsspec.core import url_to_fs

    try:
        system, path = url_to_fs(name, use_listings_cache=False)
    except ImportError:
        raise StorageError(f"'{name}' needs {install}") from None
    except ValueError as error:
        raise FileError(f"'{name}': {one_line(error)}") from None
    except Exception as error:  # credentials are looked for here by some
        raise StorageError(f"cannot reach '{name}': {one_line(error)}") from error
    return system, str(path)


@contextlib.contextmanager
def _told(verb: str, name: str) -> Iterator[None]:
    """Turn what a file system raises into our errors; a name that is taken stays as it is."""
    try:
        yield
    except (FileError, FileExistsError):
        raise
    except Exception as error:  # remote file systems raise their clients' own kinds
        reason = getattr(error, "strerror", None) or one_line(error)
        is_missing = isinstance(error, FileNotFoundError)
        if is_missing and verb == "read" and "ucket" not in reason:
            raise FileError(f"'{name}': there is no such file") from error
        is_its_own = _is_names_fault(error) if verb == "write" else _is_its_own(error, name)
        kind = FileError if is_its_own else StorageError
        raise kind(f"cannot {verb} '{name}': {reason}") from error


def _is_names_fault(error: Exception) -> bool:
    """Whether a failure to write is of this name alone: too long, or no name there."""
    known = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EILSEQ)
    return isinstance(error, ValueError) or getattr(error, "errno", None) in known


def _is_its_own(error: Exception, name: str) -> bool:
    """Whether a failure to read is of this file alone, so that others may still be read."""
    scheme = urls.scheme_of(name)
    if scheme is None or scheme in _WEB:  # another URL may be on another host
        return getattr(error, "errno", None) not in (errno.EMFILE, errno.ENFILE, errno.ENOSPC)
    response = getattr(error.__cause__ or error, "response", None) or {}
    if isinstance(response, dict) and response.get("Error", {}).get("Code") in _CREDENTIALS:
        return False
    known = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, ValueError)
    return isinstance(error, known)
