"""The log of TensorRT or TensorRT-RTX, and the errors that one call of the library logs."""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

Take = Callable[[str, str], None]
"""Takes one line in: its level (`ERROR`, `WARNING` or `INFO`) and its text."""

_LEVELS = ("ERROR", "WARNING", "INFO")
_MOST_LINES = 16  # that are kept of one call

_logger = logging.getLogger(__name__)


class _OfThread(threading.local):
    """What a thread that calls the library keeps; a thread of the library's own has nothing."""

    errors: list[str] | None = None  # of its last call
    take: Take | None = None


@functools.cache
def log_of(trt: Any) -> Any:
    """The library's only log, which lives as long as the process.

    The library keeps the first log that it is given, and warns of every other. `call` calls one
    of the library's functions, `reason` is what the thread's last call logged; `recording` hands
    every line to a function. What nobody takes goes to Python's log from warnings on.
    """

    class Log(trt.ILogger):  # type: ignore[misc]  # the base class is known at run time only
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self._own = _OfThread()
            self._calls: list[list[str]] = []  # errors of the calls that have not returned
            self._takers: list[Take] = []

        def call(self, function: Any, *arguments: Any, **options: Any) -> Any:
            """What a function of the library returns."""
            self._own.errors = errors = list[str]()
            self._calls.append(errors)
            try:
                return function(*arguments, **options)
            finally:
                self._calls[:] = [each for each in self._calls if each is not errors]

        def reason(self) -> str:
            """The errors of this thread's last call, the first one first."""
            return "; ".join(self._own.errors or ()) or "the library does not say why"

        @contextlib.contextmanager
        def recording(self, take: Take) -> Iterator[None]:
            """Give `take` every line of what this thread does meanwhile; none is shown then."""
            self._own.take, before = take, self._own.take
            self._takers.append(take)
            try:
                yield
            finally:
                self._own.take = before
                self._takers.remove(take)

        def log(self, severity: Any, message: str) -> None:
            """One line of the library's log; verbose ones are dropped."""
            level = next((x for x in _LEVELS if severity <= getattr(trt.ILogger, x)), None)
            if level is None:
                return
            line = " ".join(message.split())
            calls = [] if self._own.errors is None else [self._own.errors]
            takers = [] if self._own.take is None else [self._own.take]
            if not calls and not takers:
                # A thread of the library's own: anybody's work may be its cause.
                calls, takers = [*self._calls], [*self._takers]
            for take in takers:
                take(level, line)
            for errors in calls if level == "ERROR" else ():
                del errors[_MOST_LINES - 1 :]  # the first ones name the cause
                errors.append(line)
            if not takers and (level == "WARNING" or (level == "ERROR" and not calls)):
                _logger.warning("%s", line)

    return Log()
