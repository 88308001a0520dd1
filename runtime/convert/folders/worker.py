"""A process that works on a folder's images: it reads, computes and writes several at a time.

One image computes while others are decoded and encoded. The process ends when its parent does.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection

from runtime.convert import file
from runtime.convert.folders.resume import source_mark
from runtime.convert.folders.walk import Task
from runtime.convert.job import Job
from runtime.errors import BundleError, HcflowError, TemporaryFolderError, one_line
from runtime.images.codecs import notices
from runtime.system import atomic

IN_FLIGHT = 3
"""Images a worker holds at a time: one to decode, one to compute, one to encode."""


@dataclass(frozen=True)
class Ready:
    """The worker has opened its model, or could not: then `error` is for every image."""

    error: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of one task.

    Attributes:
        task: the task.
        error: why it failed, on one line; None where its result is written.
        mark: `source_mark` of the image before it was read.
        stops: whether every other image would fail too: a disk is full, the bundle damaged.
        warnings: what was logged about the image, each on one line.
    """

    task: Task
    error: str | None = None
    mark: tuple[int, int] = (0, 0)
    stops: bool = False
    warnings: tuple[str, ...] = ()


def serve(connection: Connection, job: Job) -> None:
    """Answer every `Task` that comes over the connection with an `Outcome`, in any order."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends this
    warnings = _Warnings()
    logging.basicConfig(handlers=[warnings], level=logging.WARNING, force=True)
    notices.capture()
    sending, gate = threading.Lock(), threading.Lock()
    try:
        file.try_model(job)
    except HcflowError as error:
        connection.send(Ready(one_line(error)))
        return
    connection.send(Ready())

    def work(task: Task) -> None:
        warnings.start()
        outcome = _work(task, job, gate, warnings)
        with sending:
            connection.send(outcome)

    with ThreadPoolExecutor(IN_FLIGHT) as threads:
        while True:
            try:
                task = connection.recv()
            except (EOFError, OSError):  # the parent has gone, or wants no more
                atomic.discard_unfinished()
                os._exit(0)
            threads.submit(work, task)


def _work(task: Task, job: Job, gate: threading.Lock, warnings: _Warnings) -> Outcome:
    try:
        mark = source_mark(task.source)
        os.makedirs(os.path.dirname(task.output), exist_ok=True)
        file.convert_file(task.source, task.output, task.format_name, job, gate)
        after = source_mark(task.source)
        if os.path.samefile(task.source, task.output):
            mark = after  # the result is the next run's input, and must not be made smaller again
        elif after != mark:
            return Outcome(task, "was being written while it was read: run again")
        return Outcome(task, mark=mark, warnings=warnings.taken())
    except Exception as error:  # even a fault of the program must cost one image, not the folder
        return Outcome(task, _reason(error), stops=_stops(error))


def _reason(error: Exception) -> str:
    if isinstance(error, HcflowError):
        return one_line(error)
    if isinstance(error, OSError):
        return error.strerror or one_line(error)
    if isinstance(error, MemoryError):
        return "out of memory: give a smaller image"
    return f"{type(error).__name__}: {one_line(error)}: please report this"


def _stops(error: Exception) -> bool:
    if isinstance(error, BundleError | TemporaryFolderError):
        return True
    return getattr(error, "errno", None) in file.FULL


class _Warnings(logging.Handler):
    """Keeps what is logged in each thread, to be sent with the image it is about."""

    def __init__(self) -> None:
        super().__init__()
        self._local = threading.local()

    def start(self) -> None:
        self._local.lines = []

    def taken(self) -> tuple[str, ...]:
        return tuple(self._local.lines)

    def emit(self, record: logging.LogRecord) -> None:
        lines = getattr(self._local, "lines", None)
        if lines is not None:
            lines.append(" ".join(record.getMessage().split()))
