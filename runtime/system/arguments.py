"""Checks of what a caller gives, and how a wrong value is shown in an error."""

from __future__ import annotations

import operator
import os
import reprlib
from collections.abc import Sequence
from typing import Any

from runtime.errors import ParameterError

_SHOWN = 80  # characters of a wrong value in an error

MOST_THREADS = 1024
"""Most threads of a backend; ten thousand take longer to start than any image takes."""


def whole(name: str, value: Any, least: int, most: int | None = None) -> int:
    """A whole number of any type, as an `int`.

    Args:
        name: names it in errors.
        value: the number.
        least: smallest allowed.
        most: largest allowed; None is no limit.

    Raises:
        ParameterError: not a whole number, or out of range.
    """
    try:
        number = operator.index(value)
    except Exception:  # what stands in for a number may raise anything
        raise ParameterError(f"{name} is {shown(value)}: it must be a whole number") from None
    if most is None and number < least:
        raise ParameterError(f"{name} is {shown(number)}: it must be {least} or more")
    if most is not None and not least <= number <= most:
        raise ParameterError(f"{name} is {shown(number)}: it must be from {least} to {most}")
    return number


def flag(name: str, value: Any) -> bool:
    """Whether a value is true; raises `ParameterError` where it has no truth, as an array."""
    try:
        return bool(value)
    except Exception:  # what stands in for a flag may raise anything
        raise ParameterError(f"{name} is {shown(value)}: it must be true or false") from None


def one_of(name: str, value: Any, options: Sequence[str]) -> str:
    """One of the names given; raises `ParameterError` for anything else."""
    if not isinstance(value, str) or value not in options:
        raise ParameterError(f"unknown {name} {shown(value)}: one of {', '.join(options)}")
    return value


def file_name(name: str, value: Any) -> str:
    """A path as text.

    Args:
        name: names it in errors.
        value: text, or an object with a path.

    Raises:
        ParameterError: neither, or bytes.
    """
    try:
        text = os.fspath(value)
    except Exception:  # what stands in for a path may raise anything
        text = None
    if not isinstance(text, str):
        raise ParameterError(f"{name} is {shown(value)}: it must be a str or a path")
    return text


def shown(value: Any) -> str:
    """A wrong value on one short line, whatever it is."""
    if isinstance(value, int) and value.bit_length() > 256:
        return f"a number of {value.bit_length()} bits"  # Python refuses to print the largest
    try:
        text = " ".join(_short.repr(value).split())
    except Exception:  # its own `__repr__` is at fault
        text = ""
    text = text or f"a {type(value).__name__}"
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


_short = reprlib.Repr()
_short.maxstring = _short.maxother = _SHOWN
