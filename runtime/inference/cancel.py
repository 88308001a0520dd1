"""A caller's wish that a running call ends: asked before every tile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from runtime.errors import Cancelled, ParameterError


@runtime_checkable
class Flag(Protocol):
    """Something that can be set, such as `threading.Event` or `multiprocessing.Event`."""

    def is_set(self) -> bool:
        """Whether it has been set."""


Cancel = Callable[[], object] | Flag
"""A function that is true once the call is to end, or an event that is then set. It is asked from
several threads; what a function raises ends the call too."""


Check = Callable[[], None]
"""Raises `Cancelled` once the call is to end."""


def check_of(cancel: Cancel | None) -> Check:
    """A function that raises `Cancelled` once `cancel` says so.

    Raises:
        ParameterError: `cancel` is neither a function nor an event.
    """
    if cancel is None:
        return no_check
    asked = cancel.is_set if isinstance(cancel, Flag) else cancel
    if not callable(asked) or isinstance(cancel, type):
        raise ParameterError(
            f"cancel is a {type(cancel).__name__}: give a function that returns true once the call "
            "is to end, or a threading.Event"
        )

    def check() -> None:
        if asked():
            raise Cancelled("cancelled by the caller: nothing was written")

    return check


def no_check() -> None:
    """Never cancelled."""
