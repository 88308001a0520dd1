"""The lock on a run's folder: two processes would overwrite each other's checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from hcflow_ref.errors import TrainingError

LOCK_FILE = ".running"
"""Empty; its lock ends with the process, however that ends, so the file may stay."""


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Keep other processes from training into `out`, a folder that is created where missing.

    Raises:
        TrainingError: another process trains there now, or nothing can be written there.
    """
    file = out / LOCK_FILE
    try:
        out.mkdir(parents=True, exist_ok=True)
        file.touch()
    except OSError as error:
        raise TrainingError(f"{out}: cannot be written to ({error.strerror or error})") from error
    # A soft lock, filelock's own way out, would outlive a `kill -9`.
    lock = FileLock(file, timeout=0, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise TrainingError(
            f"{out}: another training run writes there; wait for it, or choose another --out"
        ) from error
    except OSError:
        pass  # some network file systems have no locks
    try:
        yield
    finally:
        lock.release()
