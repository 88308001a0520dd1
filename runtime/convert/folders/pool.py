"""Tasks handed to worker processes and outcomes taken back; a worker that dies costs one image.

A dead worker's images are tried again one at a time; the one that kills a worker by itself is named
as failed, and all others are done.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from multiprocessing import connection, resource_tracker
from multiprocessing.context import SpawnProcess
from pathlib import Path

from runtime.convert.folders import worker
from runtime.convert.folders.walk import Task
from runtime.convert.folders.worker import IN_FLIGHT, Outcome, Ready
from runtime.convert.job import Job
from runtime.errors import BackendError
from runtime.system import atomic

_PATIENCE_SECONDS = 5.0


@dataclass(eq=False)
class _Worker:
    process: SpawnProcess
    link: connection.Connection
    is_ready: bool = False
    suspect: bool = False  # works on one image only, of those that another worker died on
    tasks: list[Task] = field(default_factory=list)


def run(tasks: Iterator[Task], job: Job, jobs: int) -> Generator[Outcome]:
    """Work the tasks off with `jobs` processes; outcomes come in any order, one a task.

    Closing the iterator ends the processes and removes what they had half-written.

    Raises:
        BackendError: no worker can open the model; the message says why.
    """
    workers: list[_Worker] = []
    retry: deque[Task] = deque()
    waiting = iter(tasks)
    has_more = True
    try:
        while True:
            for each in workers:
                has_more = _feed(each, waiting, retry, has_more)
            busy = [w for w in workers if w.tasks or not w.is_ready]
            wanted = jobs if has_more else min(jobs, len(retry) + len(busy))
            while len(workers) < wanted:
                workers.append(_start(job))
            busy = [w for w in workers if w.tasks or not w.is_ready]
            if not busy and not has_more and not retry:
                return
            for ready in connection.wait([w.link for w in busy]):
                each = next(w for w in workers if w.link is ready)
                outcome = _receive(each, workers, retry)
                if outcome is not None:
                    yield outcome
    finally:
        for each in workers:
            _end(each)


def _feed(each: _Worker, waiting: Iterator[Task], retry: deque[Task], has_more: bool) -> bool:
    """Give a worker what it has room for; whether more tasks may be waiting."""
    if not each.is_ready:
        return has_more
    if not each.tasks:
        each.suspect = False
    if not each.tasks and retry:
        each.suspect = True
        _send(each, retry.popleft())
    while has_more and not each.suspect and len(each.tasks) < IN_FLIGHT:
        task = next(waiting, None)
        if task is None:
            return False
        _send(each, task)
    return has_more


def _send(each: _Worker, task: Task) -> None:
    each.tasks.append(task)
    with contextlib.suppress(OSError):  # it has just died: its end will be received
        each.link.send(task)


def _receive(each: _Worker, workers: list[_Worker], retry: deque[Task]) -> Outcome | None:
    try:
        message = each.link.recv()
    except (EOFError, OSError):
        return _bury(each, workers, retry)
    if isinstance(message, Ready):
        if message.error is not None:
            raise BackendError(message.error)
        each.is_ready = True
        return None
    each.tasks.remove(message.task)
    assert isinstance(message, Outcome)
    return message


def _bury(each: _Worker, workers: list[_Worker], retry: deque[Task]) -> Outcome | None:
    """Take a dead worker out; its last image failed if it was alone with it."""
    workers.remove(each)
    _end(each)
    reason = _reason(each.process.exitcode)
    if not each.is_ready:
        raise BackendError(f"a worker process {reason} before it had opened the model")
    if each.suspect:
        return Outcome(each.tasks[0], f"the process that worked on it {reason}")
    retry.extend(each.tasks)
    return None


def _reason(code: int | None) -> str:
    if code is None or code >= 0:
        return f"ended with exit code {code}"
    with contextlib.suppress(ValueError):
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by signal {-code}"


def _start(job: Job) -> _Worker:
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=worker.serve, args=(theirs, job), daemon=True)
    with _interrupts_held():
        process.start()
    theirs.close()
    return _Worker(process, mine)


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C within is raised afterwards; a process that is started within never sees one.

    Else it would end in a traceback while it starts, before `worker.serve` can ignore it.
    """
    if not hasattr(signal, "pthread_sigmask"):  # as on Windows
        yield
        return
    resource_tracker.ensure_running()  # which a first start would do, letting interrupts through
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


def _end(each: _Worker) -> None:
    """End a worker and remove the temporary files that a killed one may have left."""
    each.link.close()
    each.process.join(_PATIENCE_SECONDS)
    if each.process.is_alive():
        each.process.kill()
        each.process.join()
    prefix = atomic.temporary_prefix(each.process.pid or 0)
    for folder in {os.path.dirname(os.path.realpath(task.output)) for task in each.tasks}:
        for left in Path(folder).glob(f"{prefix}*.tmp"):
            left.unlink(missing_ok=True)
