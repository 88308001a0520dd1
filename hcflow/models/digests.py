"""SHA-256 of files that hardly ever change, remembered by what the file system says of them.

For names of folders in the cache, and for finding a model by its checkpoint: nothing that is loaded
is trusted by it (`runtime.bundle.reader` hashes every byte that it uses).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from pathlib import Path

from runtime.system import atomic

_SETTLED_NS = 2_000_000_000
"""A file that changed later than this before it was hashed may change again within one tick."""


def of(path: Path, memory: Path) -> str:
    """The SHA-256 of a file in hexadecimal.

    Args:
        path: the file.
        memory: the JSON file that digests are remembered in; one that cannot be read or written
            is done without.

    Raises:
        OSError: the file cannot be read.
    """
    status = path.stat()
    facts = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
    known, name = _read(memory), os.path.abspath(path)
    match known.get(name):
        case [*seen, str(digest)] if seen == facts:
            return digest
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) > _SETTLED_NS:
        with contextlib.suppress(OSError):
            memory.parent.mkdir(parents=True, exist_ok=True)
            atomic.write(memory, json.dumps({**known, name: [*facts, digest]}).encode())
    return digest


def _read(memory: Path) -> dict[str, object]:
    try:
        known = json.loads(memory.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return known if isinstance(known, dict) else {}
