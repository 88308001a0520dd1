"""Writes TensorBoard's event file, in place of TensorBoard's own writer.

That one writes from another thread: a full disk ends in a traceback, and a kill loses the last
minutes.
"""

from __future__ import annotations

import importlib
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

VERSION = "brain.Event:2"
"""The first record of every event file."""


class EventFile:
    """An event file of scalars in `folder`, which is created where missing.

    Raises:
        ImportError: TensorBoard is not installed.
        OSError: nothing can be written there; so does `write`.
    """

    def __init__(self, folder: Path) -> None:
        self._event: Any = importlib.import_module("tensorboard.compat.proto.event_pb2").Event
        self._summary: Any = importlib.import_module("tensorboard.compat.proto.summary_pb2").Summary
        records = importlib.import_module("tensorboard.summary.writer.record_writer")
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}"
        self._file = (folder / name).open("ab", buffering=0)
        self._records = records.RecordWriter(self._file)
        self._add(file_version=VERSION)

    def _add(self, **content: Any) -> None:
        self._records.write(self._event(wall_time=time.time(), **content).SerializeToString())

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Append a record of values by name."""
        scalars = [self._summary.Value(tag=name, simple_value=v) for name, v in values.items()]
        self._add(step=step, summary=self._summary(value=scalars))

    def close(self) -> None:
        """Close the file; nothing is buffered."""
        self._file.close()
