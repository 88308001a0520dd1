"""The user's cache of engines that were compiled on this machine, and how any engine is read.

An engine is code: it is loaded only from a folder that nobody but this user and the system's
administrator can write to.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from pathlib import Path

from runtime.bundle.engines.entry import LIBRARIES, Engine, Library, of_manifest
from runtime.bundle.engines.fit import Machine
from runtime.bundle.reader import Bundle
from runtime.errors import BackendError, BundleError
from runtime.system import atomic, regular_file
from runtime.system.cache import NO_CACHE, user_cache

MOST_ENGINE = 1 << 32
"""Largest engine in bytes, as in C++."""

MOST_SIDECAR = 1 << 20
"""Largest sidecar in bytes: hundreds of times what one takes."""


def folder() -> Path:
    """Where engines are cached.

    Raises:
        BackendError: there is no folder for a cache.
    """
    cache = user_cache()
    if cache is None:
        raise BackendError(NO_CACHE)
    return cache / "engines"


def own_folder(name: str) -> Path:
    """A folder of the cache for engines that a library reads by itself, made where missing.

    Raises:
        BackendError: there is no folder for a cache, or others may write to this one.
    """
    found = folder() / name
    try:
        found.mkdir(parents=True, exist_ok=True, mode=0o700)
        for place in _places(found):
            _check_owner(place)
    except OSError as error:
        raise BackendError(f"'{found}' cannot keep engines: {error.strerror}") from error
    return found


def find(graph_sha256: str) -> list[tuple[Engine, Path]]:
    """Cached engines of a graph and their files; damaged sidecars are left out."""
    found = list[tuple[Engine, Path]]()
    if user_cache() is None:
        return found
    for sidecar in sorted(folder().glob(f"{graph_sha256[:12]}.*.json")):
        try:
            engine = Engine.from_json(_text(sidecar), f"'{sidecar}'")
        except (BundleError, OSError, UnicodeDecodeError):
            continue  # it is only a cache: the engine can be compiled again
        if engine.graph == graph_sha256:
            found.append((engine, sidecar.with_name(engine.file)))
    return found


def of_graph(graph_sha256: str, folder: Path | None) -> list[tuple[Engine, Path]]:
    """Every engine of a graph: those of the cache, made on this machine, before the bundle's.

    Args:
        graph_sha256: of the ONNX file.
        folder: the bundle's, or None to look in the cache only.

    Raises:
        BackendError: the bundle's engines cannot be read.
    """
    found = find(graph_sha256)
    if folder is None:
        return found
    try:
        listed = of_manifest(Bundle.open(folder).manifest, f"'{folder}'")
    except BundleError as error:
        raise BackendError(f"the bundle's engines cannot be read: {error}") from error
    return found + [(e, folder / e.file) for e in listed if e.graph == graph_sha256]


def libraries(graph_sha256: str, folder: Path | None) -> list[Library]:
    """The libraries that there are engines of a graph for; raises `BackendError` as `of_graph`."""
    found = {engine.library for engine, _ in of_graph(graph_sha256, folder)}
    return [library for library in LIBRARIES if library in found]


def write(engine: Engine, data: bytes) -> Path:
    """Put an engine into the cache; its sidecar comes last, so that no half engine is found."""
    cache = folder()
    cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = cache / engine.file
    atomic.write_cached(path, data)
    text = json.dumps(engine.to_mapping(), indent=1) + "\n"
    atomic.write_cached(path.with_suffix(".json"), text.encode())
    return path


def runtime_cache(engine: Engine, machine: Machine, gpu: str) -> Path:
    """The file for the kernels that TensorRT-RTX makes for an engine at run time.

    Each kind of GPU has one of its own. C++ has the same name, and reads what Python kept; of the
    library's version it knows three numbers.

    Args:
        engine: whose kernels.
        machine: that runs it.
        gpu: the driver's name of the GPU.
    """
    version = ".".join(machine.version.split(".")[:3])
    kind = re.sub("[^A-Za-z0-9]+", "-", gpu).strip("-").lower()
    name = f"{engine.sha256[:12]}.{version}.{machine.compute_capability}.{kind}.runtime-cache"
    return folder() / name


def read(engine: Engine, path: Path) -> bytes:
    """The bytes of an engine file, checked against its owner and its entry.

    Raises:
        BackendError: it is missing, has another size or digest, or others may write to it or to a
            folder above it.
    """
    try:
        for place in _places(path):
            _check_owner(place)
        with regular_file.open_file(path) as opened:
            found = os.fstat(opened.fileno()).st_size
            if found != engine.bytes:
                raise BackendError(
                    f"engine '{path}' has {found} bytes, its entry says {engine.bytes}: truncated; "
                    "compile it again"
                )
            data = regular_file.read_open(opened, MOST_ENGINE)
    except OSError as error:
        raise BackendError(
            f"cannot read engine '{path}': {error.strerror}; compile it again"
        ) from None
    if hashlib.sha256(data).hexdigest() != engine.sha256:
        raise BackendError(
            f"engine '{path}' does not have the SHA-256 of its entry: damaged; compile it again"
        )
    return data


def read_own(path: Path, most: int) -> bytes:
    """The bytes of a file that only this user can have written: what it holds is run.

    Raises:
        BackendError: others may write to it, or to a folder above it.
        OSError: there is none, or it is larger than `most` bytes, or no file.
    """
    for place in _places(path):
        _check_owner(place)
    return regular_file.read(path, most, links=False, private=True)


def _text(sidecar: Path) -> str:
    return regular_file.read(sidecar, MOST_SIDECAR).decode("utf-8")


def _check_owner(path: Path) -> None:
    if not hasattr(os, "getuid"):  # no owners to compare
        return
    status = path.stat()
    if status.st_uid not in (os.getuid(), 0):
        raise BackendError(
            f"'{path}' belongs to another user, and an engine is code: copy the bundle, or compile "
            "the engine again"
        )
    if status.st_mode & stat.S_ISVTX and stat.S_ISDIR(status.st_mode):
        return  # sticky, like /tmp: others may add files, but not replace ours
    if status.st_mode & stat.S_IWOTH:
        raise BackendError(
            f"'{path}' can be written by everyone, and an engine is code: chmod o-w it first"
        )
    if status.st_mode & stat.S_IWGRP and not _is_private(status.st_gid):
        raise BackendError(
            f"'{path}' can be written by its group, and an engine is code: chmod g-w it first"
        )


def _places(path: Path) -> list[Path]:
    """A file, the file that a link points to, and every folder above either."""
    own, real = path.absolute(), path.resolve()
    return list(dict.fromkeys((own, *own.parents, real, *real.parents)))


def _is_private(group: int) -> bool:
    """Whether a group is the system's, or this user's own group without other members."""
    if group == 0:
        return True
    try:
        import grp  # noqa: PLC0415 - absent on systems without groups
        import pwd  # noqa: PLC0415

        user = pwd.getpwuid(os.getuid())
        return group == user.pw_gid and set(grp.getgrgid(group).gr_mem) <= {user.pw_name}
    except (ImportError, KeyError):  # KeyError: a user or group without a name
        return False
