"""Work in a thread of its own, while the main thread stays open to signals."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def start(work: Callable[[], T]) -> tuple[threading.Thread, Callable[[], T]]:
    """Start the work in a daemon thread.

    Returns:
        The thread, and a function that gives the work's result, or raises what it raised, once the
        thread has ended.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def target() -> None:
        try:
            results.append(work())
        except BaseException as error:  # raised again in the caller's thread
            errors.append(error)

    def result() -> T:
        if errors:
            raise errors[0]
        return results[0]

    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    return thread, result
