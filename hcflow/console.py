"""Work in sight: a spinner on the terminal, and a main thread that stays open to Ctrl-C."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

T = TypeVar("T")

_QUIET_SECONDS = 0.8  # shorter work shows nothing
_TICK_SECONDS = 0.1


def run(label: str, work: Callable[[], T]) -> T:
    """Do the work in a thread and return its result, or raise what it raised.

    A signal is seen only between the main thread's bytecodes, and a backend's call can last
    minutes: so the main thread waits here instead of in the backend. With stderr on a terminal,
    work of more than a moment shows `label` with the time it has taken.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def target() -> None:
        try:
            results.append(work())
        except BaseException as error:  # raised again below, in the caller's thread
            errors.append(error)

    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    thread.join(_QUIET_SECONDS)
    if thread.is_alive():
        columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
        console = Console(stderr=True)
        with Progress(
            *columns, console=console, transient=True, disable=not sys.stderr.isatty()
        ) as progress:
            progress.add_task(label, total=None)
            while thread.is_alive():
                thread.join(_TICK_SECONDS)
    if errors:
        raise errors[0]
    return results[0]


def stopwatch() -> Callable[[], float]:
    """A function that gives the seconds since this call, to the millisecond."""
    start = time.monotonic()
    return lambda: round(time.monotonic() - start, 3)
