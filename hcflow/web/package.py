"""The npm package onnxruntime-web: fetched once, its hash checked, kept in the user's cache."""

from __future__ import annotations

import base64
import hashlib
import os
import tarfile
import urllib.error
import urllib.request
from io import BytesIO
from pathlib import Path

from runtime.errors import BackendError, FileError
from runtime.system import atomic
from runtime.system.cache import user_cache

VERSION = "1.30.0"
FILE = f"onnxruntime-web-{VERSION}.tgz"
SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
"""As npm states it, in base64."""

REGISTRY = "https://registry.npmjs.org"
REGISTRY_VARIABLES = ("NPM_CONFIG_REGISTRY", "npm_config_registry")
"""Environment variables by which npm itself finds another registry."""

RUNTIMES = {
    "wasm": (
        "ort.wasm.min.mjs",
        "ort-wasm-simd-threaded.mjs",
        "ort-wasm-simd-threaded.wasm",
    ),
    "webgpu": (
        "ort.webgpu.min.mjs",
        "ort-wasm-simd-threaded.asyncify.mjs",
        "ort-wasm-simd-threaded.asyncify.wasm",
    ),
}
"""Files of the package that a page needs to compute on the processor, and on a GPU."""

_MOST_BYTES = 100_000_000
_SECONDS = 60


def files(names: tuple[str, ...], package: Path | None = None) -> dict[str, bytes]:
    """Files of the package's `dist` folder, by name.

    Args:
        names: which.
        package: the package's file; None takes it from the cache, or fetches it.

    Raises:
        FileError: `package` cannot be read, or is not this version.
        BackendError: it cannot be fetched.
    """
    data = _fetched() if package is None else _read(package)
    with tarfile.open(fileobj=BytesIO(data), mode="r:gz") as archive:
        found = {}
        for name in names:
            member = archive.extractfile(f"package/dist/{name}")
            assert member is not None  # the hash says what is in it
            found[name] = member.read()
    return found


def url() -> str:
    """Where the package is fetched."""
    registry = next((v for v in map(os.environ.get, REGISTRY_VARIABLES) if v), REGISTRY)
    return f"{registry.rstrip('/')}/onnxruntime-web/-/{FILE}"


def is_right(data: bytes) -> bool:
    """Whether these are the bytes of the pinned version."""
    return base64.b64encode(hashlib.sha512(data).digest()).decode("ascii") == SHA512


def _read(package: Path) -> bytes:
    try:
        with package.open("rb") as file:
            data = file.read(_MOST_BYTES)
    except OSError as error:
        raise FileError(f"'{package}' cannot be read: {error.strerror}") from error
    if not is_right(data):
        raise FileError(f"'{package}' is not {FILE}, which this version of hcflow-deploy needs")
    return data


def _fetched() -> bytes:
    cache = user_cache()
    kept = None if cache is None else cache / "web" / FILE
    if kept is not None and kept.is_file() and is_right(old := _cached(kept)):
        return old
    try:
        with urllib.request.urlopen(url(), timeout=_SECONDS) as answer:
            data: bytes = answer.read(_MOST_BYTES)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise BackendError(
            f"onnxruntime-web cannot be fetched from {url()} ({reason}): fetch {FILE} by other "
            "means and give it as --package"
        ) from error
    if not is_right(data):
        raise BackendError(f"{url()} is not the package that is pinned: its SHA-512 differs")
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        atomic.write(kept, data)
    return data


def _cached(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_MOST_BYTES)
