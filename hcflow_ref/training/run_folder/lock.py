"""A run's folder belongs to one process at a time: two would overwrite each other's checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hcflow_ref.errors import TrainingError

CLAIM_FILE = ".running"
"""Empty; its lock ends with the process, however that ends, so the file may stay."""


@contextmanager
def claimed(out: Path) -> Iterator[None]:
    """Within, no other process can train into `out`, a folder that is made where missing.

    Raises:
        TrainingError: another one does so now, or nothing can be written there.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        file = (out / CLAIM_FILE).open("wb")
    except OSError as error:
        raise TrainingError(f"{out}: cannot be written to ({error.strerror or error})") from error
    with file:
        try:
            import fcntl  # noqa: PLC0415 - absent on some systems, which then go without the lock

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TrainingError(
                f"{out}: another training run writes there; wait for it, or take another --out"
            ) from error
        except (ImportError, OSError):
            pass  # some network file systems have no locks either
        yield
