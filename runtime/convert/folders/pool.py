"""Hands tasks to worker processes and takes outcomes back; a worker that dies costs one image.

A dead worker's images are tried again one at a time; the one that kills every worker it is given to
is named as failed, and all others are done. With a timeout a worker has one image at a time, and is
ended when that takes longer: a decoder that never returns costs one image as well.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from multiprocessing import connection, resource_tracker
from multiprocessing.context import SpawnProcess

from runtime.convert.folders.walk import Task
from runtime.convert.folders.worker import IN_FLIGHT, Outcome, Ready, serve
from runtime.convert.job import Job
from runtime.errors import BackendError
from runtime.system import atomic

_PATIENCE_SECONDS = 5.0


@dataclass(frozen=True)
class _Suspect:
    """An image on which workers have died, and how many of them."""

    task: Task
    deaths: int


@dataclass(eq=False)
class _Worker:
    process: SpawnProcess
    link: connection.Connection
    is_ready: bool = False
    suspect: _Suspect | None = None  # the one image it works on, on which others have died
    sent: float = 0.0  # when it was given its last image
    tasks: list[Task] = field(default_factory=list)


class Pool:
    """Worker processes that keep their model from one run of tasks to the next.

    Args:
        job: what is done to an image.
        jobs: processes, at least 1.
        timeout: seconds after which an image has failed; None waits for ever.
        tries: workers that an image may end before it has failed, at least 2.
    """

    def __init__(self, job: Job, jobs: int, timeout: float | None = None, tries: int = 2) -> None:
        self._job, self._jobs, self._timeout, self._tries = job, jobs, timeout, tries
        self._workers: list[_Worker] = []

    def run(self, tasks: Iterator[Task]) -> Generator[Outcome]:
        """Run the tasks; outcomes come in any order, one a task.

        Closing the iterator before its end closes the pool.

        Raises:
            BackendError: no worker can open the model; the message says why.
        """
        try:
            yield from self._run(iter(tasks))
        except BaseException:
            self.close()
            raise

    def _run(self, waiting: Iterator[Task]) -> Generator[Outcome]:
        workers, timeout = self._workers, self._timeout
        retry: deque[_Suspect] = deque()
        has_more = True
        room = IN_FLIGHT if timeout is None else 1
        while True:
            for worker in workers:
                has_more = _feed(worker, waiting, retry, room, has_more)
            busy = [w for w in workers if w.tasks or not w.is_ready]
            wanted = self._jobs if has_more else min(self._jobs, len(retry) + len(busy))
            while len(workers) < wanted:
                workers.append(_start(self._job))
            busy = [w for w in workers if w.tasks or not w.is_ready]
            if not busy and not has_more and not retry:
                return
            for ready in connection.wait([w.link for w in busy], _patience(busy, timeout)):
                worker = next(w for w in workers if w.link is ready)
                outcome = _receive(worker, workers, retry, self._tries)
                if outcome is not None:
                    yield outcome
            for worker in [w for w in busy if w in workers and _is_late(w, timeout)]:
                workers.remove(worker)
                worker.process.kill()
                _end(worker)
                yield Outcome(worker.tasks[0], f"took longer than --timeout {timeout:g} s")

    def close(self) -> None:
        """End the processes and remove what they had half-written."""
        while self._workers:
            _end(self._workers.pop())


def run(
    tasks: Iterator[Task], job: Job, jobs: int, timeout: float | None = None
) -> Generator[Outcome]:
    """Run the tasks on a `Pool` of their own, whose Args and Raises hold."""
    with contextlib.closing(Pool(job, jobs, timeout)) as pool:
        yield from pool.run(tasks)


def _patience(busy: list[_Worker], timeout: float | None) -> float | None:
    """Seconds until the next image is late; None where none will be."""
    sent = [worker.sent for worker in busy if worker.tasks]
    if timeout is None or not sent:
        return None
    return max(0.0, min(sent) + timeout - time.monotonic())


def _is_late(worker: _Worker, timeout: float | None) -> bool:
    """Whether a worker's image takes longer than it may, and no outcome of it has come."""
    if timeout is None or not worker.tasks or worker.link.poll():
        return False
    return time.monotonic() - worker.sent >= timeout


def _feed(
    worker: _Worker, waiting: Iterator[Task], retry: deque[_Suspect], room: int, has_more: bool
) -> bool:
    """Give a worker as many tasks as it has room for; whether more may be waiting."""
    if not worker.is_ready:
        return has_more
    if not worker.tasks:
        worker.suspect = None
    if not worker.tasks and retry:
        worker.suspect = retry.popleft()
        _send(worker, worker.suspect.task)
    while has_more and worker.suspect is None and len(worker.tasks) < room:
        task = next(waiting, None)
        if task is None:
            return False
        _send(worker, task)
    return has_more


def _send(worker: _Worker, task: Task) -> None:
    worker.tasks.append(task)
    worker.sent = time.monotonic()
    with contextlib.suppress(OSError):  # it has just died: its end will be received
        worker.link.send(task)


def _receive(
    worker: _Worker, workers: list[_Worker], retry: deque[_Suspect], tries: int
) -> Outcome | None:
    try:
        message = worker.link.recv()
    except (EOFError, OSError):
        return _remove_dead(worker, workers, retry, tries)
    if isinstance(message, Ready):
        if message.error is not None:
            raise BackendError(message.error)
        worker.is_ready = True
        return None
    worker.tasks.remove(message.task)
    assert isinstance(message, Outcome)
    return message


def _remove_dead(
    worker: _Worker, workers: list[_Worker], retry: deque[_Suspect], tries: int
) -> Outcome | None:
    """Remove a dead worker; its images are tried again, each alone, up to so many tries in all."""
    workers.remove(worker)
    _end(worker)
    reason = _reason(worker.process.exitcode)
    if not worker.is_ready:
        raise BackendError(f"a worker process {reason} before it had opened the model")
    deaths = 1 if worker.suspect is None else worker.suspect.deaths + 1
    if deaths < tries:
        retry.extend(_Suspect(task, deaths) for task in worker.tasks)
        return None
    often = f", on each of {tries} tries" if tries > 2 else ""
    return Outcome(worker.tasks[0], f"the process that worked on it {reason}{often}")


def _reason(code: int | None) -> str:
    if code is None or code >= 0:
        return f"ended with exit code {code}"
    with contextlib.suppress(ValueError):
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by signal {-code}"


def _start(job: Job) -> _Worker:
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, job), daemon=True)
    with _interrupts_held():
        process.start()
    theirs.close()
    return _Worker(process, mine)


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back until the block ends; a process that is started in it never sees one.

    Otherwise it could end in a traceback while it starts, before `serve` can ignore Ctrl-C.
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


def _end(worker: _Worker) -> None:
    """End a worker and remove the temporary files that a killed one may have left."""
    worker.link.close()
    worker.process.join(_PATIENCE_SECONDS)
    if worker.process.is_alive():
        worker.process.kill()
        worker.process.join()
    for folder in {os.path.dirname(os.path.realpath(task.output)) for task in worker.tasks}:
        atomic.clear_ended(folder, worker.process.pid or 0)
