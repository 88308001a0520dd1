"""Runs checks one after another, each in a process of its own, within the time there is."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.gpu.checks import Check, missing
from tests.gpu.record import Record, records

LEAST_SECONDS = 5.0
"""With less left, a check is not started."""

ROOT = Path(__file__).parents[2]


def run_all(
    checks: Sequence[Check],
    seconds: float,
    machine: Check | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Record]:
    """The records of all checks; none raises, and together they take `seconds` at most.

    Args:
        checks: what is run.
        seconds: for all of them.
        machine: a check that runs first: where it does not hold, no other is started.
        clock: seconds since any fixed time.
    """
    end = clock() + seconds
    no_gpu = None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if machine is not None:
            found = list(run(machine, machine.seconds, folder))
            yield from found
            if all(record.outcome != "ok" for record in found):
                no_gpu = found[-1].detail or "no GPU was found"
        for check in checks:
            left = end - clock()
            if reason := missing(check) or no_gpu:
                yield Record(check.name, "the whole check", "skipped", reason)
            elif left < LEAST_SECONDS:
                yield Record(check.name, "the whole check", "skipped", "no time was left for it")
            else:
                yield from run(check, min(check.seconds, left), folder)


def run(check: Check, seconds: float, folder: Path) -> Iterator[Record]:
    """One check's records, and one more where it was ended or died."""
    file, log = folder / "records.jsonl", folder / "log"
    file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "tests.gpu", "--check", check.target, "--name", check.name]
    # Engines and kernels that checks compile are shared by them, and are gone with the folder.
    environment = os.environ | {"HCFLOW_CACHE": str(folder / "cache"), "PYTHONUNBUFFERED": "1"}
    (folder / "cache").mkdir(mode=0o700, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--records", str(file)],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what it started, too
            process.wait()
    found = records(file)
    yield from found
    said = _last_lines(log)
    if status is None:
        detail = f"it was ended after {seconds:.0f} s; what it had found is kept. {said}"
        yield Record(check.name, "the whole check", "failed", detail.strip())
    elif status != 0:
        yield Record(check.name, "the whole check", "failed", f"{_ended(status)}. {said}".strip())
    elif not found:
        yield Record(check.name, "the whole check", "failed", f"it found nothing. {said}".strip())


def _ended(status: int) -> str:
    if status < 0:
        return f"the process died of {signal.Signals(-status).name}"
    return f"the process ended with {status}"


def _last_lines(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return " | ".join(line.strip() for line in lines[-3:] if line.strip())[-600:]
