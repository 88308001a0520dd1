"""The log of a run: lines for the terminal, lines of JSON, and TensorBoard where installed."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from hcflow_ref.errors import TrainingError
from hcflow_ref.training.run_folder.tensorboard import EventFile

LOG_FILE = "log.jsonl"


def duration(seconds: float) -> str:
    """Whole seconds as `h:mm:ss`."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def progress_line(step: int, steps: int, values: Mapping[str, float], seconds_left: float) -> str:
    """`step 120/1000  nll 3.21  12.3 images/s  0:12:33 left`."""
    shown = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
    return f"step {step}/{steps}  {shown}  {duration(seconds_left)} left"


class RunLog:
    """Writes `log.jsonl` and TensorBoard events into a run's folder.

    TensorBoard is optional; where it is missing, `report` is called with a line that says so. Of
    several processes only the first opens any file.

    Raises:
        TrainingError: the disk is full or not writable; `write` raises it too.
    """

    def __init__(self, out: Path, report: Callable[[str], None], first: bool = True) -> None:
        self._path = out / LOG_FILE
        self._events: EventFile | None = None
        if not first:
            return
        try:
            self._events = EventFile(out / "tensorboard")
        except ImportError:
            report("tensorboard is not installed: losses go to log.jsonl only")
        except OSError as error:
            raise self._write_error(error) from error

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Append values by name; JSON has no NaN or infinity, so they become null."""
        finite = {name: v if math.isfinite(v) else None for name, v in values.items()}
        line = json.dumps({"step": step, **finite}) + "\n"
        try:
            with self._path.open("ab", buffering=0) as file:
                end = file.tell()
                try:
                    written = file.write(line.encode())
                    if written < len(line):
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                except OSError:
                    with contextlib.suppress(OSError):  # a device cannot be truncated
                        file.truncate(end)  # half a line would spoil the next one
                    raise
            if self._events is not None:
                self._events.write(step, values)
        except OSError as error:
            raise self._write_error(error) from error

    def _write_error(self, error: OSError) -> TrainingError:
        return TrainingError(
            f"{self._path}: cannot be written ({error.strerror or error}); the last checkpoint is "
            "kept. Free some space and run the same command again"
        )

    def close(self) -> None:
        """Close TensorBoard's file."""
        if self._events is not None:
            self._events.close()
