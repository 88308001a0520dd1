"""Debian's packages, fetched with `apt-get download` and unpacked with `dpkg-deb`."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hcflow_ref.errors import TrainingError


@contextmanager
def unpacked(package: str) -> Iterator[tuple[Path, str]]:
    """A temporary folder with a package's files, and the package's version.

    Raises:
        TrainingError: `apt-get` or `dpkg-deb` is missing or fails; the message gives its last line.
    """
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        run(["apt-get", "download", package], work)
        archives = list(work.glob("*.deb"))
        if not archives:
            raise TrainingError(f"apt-get downloaded no archive for {package}")
        version = run(["dpkg-deb", "-f", str(archives[0]), "Version"], work).strip()
        run(["dpkg-deb", "-x", str(archives[0]), str(work / "unpacked")], work)
        yield work / "unpacked", version


def run(command: list[str], folder: Path) -> str:
    """What a command prints; raises `TrainingError` where it is missing or fails."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    except FileNotFoundError as error:
        raise TrainingError(f"'{command[0]}' is not on this machine; this needs Debian") from error
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.strip().splitlines() or ["no message"])[-1]
        raise TrainingError(f"'{' '.join(command[:3])}' failed: {reason}") from error
    return done.stdout
