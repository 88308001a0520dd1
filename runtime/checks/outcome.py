"""The outcome of one check of this machine: it holds, it does not, or it could not be tried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from runtime.errors import HcflowError

Outcome = Literal["ok", "failed", "not tried"]


class CheckError(HcflowError):
    """A check was carried out and does not hold; the message gives the figures."""


@dataclass(frozen=True)
class Result:
    """One check: its name, its outcome, and figures or the reason."""

    name: str
    outcome: Outcome
    detail: str


def attempt(name: str, check: Callable[[], str]) -> Result:
    """The result of a check that returns its figures, or raises one of our errors."""
    try:
        return Result(name, "ok", check())
    except HcflowError as error:
        return Result(name, "failed", str(error))


def require(holds: bool, otherwise: str) -> None:
    """Raise `CheckError` with that message unless something holds."""
    # An exception of our own, not `assert`, which `python -O` leaves out.
    if not holds:
        raise CheckError(otherwise)
