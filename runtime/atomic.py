"""A file is written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path


def write(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to a file so that no other content is ever seen under its name.

    The bytes go to a temporary file in the same folder, are synced to disk and then renamed; on any
    failure (a full disk, Ctrl-C) the temporary file is removed and an older file stays. Permissions
    follow the umask. A link is followed; a device or pipe is written to directly.

    Raises:
        OSError: the folder is missing or not writable, or the disk is full.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        with target.open("wb", buffering=0) as device:
            device.write(data)
        return
    temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise
