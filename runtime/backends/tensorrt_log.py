"""The log of TensorRT or TensorRT-RTX, and the errors that one call of the library logs."""

from __future__ import annotations

import functools
import logging
import threading
from typing import Any

_MOST_LINES = 16  # that are kept of one call

_logger = logging.getLogger(__name__)


@functools.cache
def log_of(trt: Any) -> Any:
    """The library's only log, which lives as long as the process.

    The library keeps the first log that it is given and writes to it ever after. `call` calls one
    of the library's functions, `reason` is what the thread's last call logged.
    """

    class Log(trt.ILogger):  # type: ignore[misc]  # the base class is known at run time only
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self._errors: dict[int, list[str]] = {}  # of each thread's last call

        def call(self, function: Any, *arguments: Any, **options: Any) -> Any:
            """What a function of the library returns."""
            self._errors[threading.get_ident()] = []
            return function(*arguments, **options)

        def reason(self) -> str:
            """The errors of this thread's last call, the first one first."""
            lines = self._errors.get(threading.get_ident())
            return "; ".join(lines) if lines else "the library does not say why"

        def log(self, severity: Any, message: str) -> None:
            """One line of the library's log."""
            line = " ".join(message.split())
            if severity <= trt.ILogger.ERROR:
                own = self._errors.get(threading.get_ident())
                # A thread of the library's own: any call may be its cause.
                for lines in [*self._errors.values()] if own is None else [own]:
                    del lines[_MOST_LINES - 1 :]  # the first ones name the cause
                    lines.append(line)
            elif severity == trt.ILogger.WARNING:
                _logger.warning("%s", line)

    return Log()
