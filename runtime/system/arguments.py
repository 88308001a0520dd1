"""Whole numbers that a caller gives, or a line that says what was given instead."""

from __future__ import annotations

import operator
from typing import Any

from runtime.errors import ParameterError

MOST_THREADS = 1024
"""Threads of a backend; ten thousand take longer to start than any image takes."""


def whole(name: str, value: Any, least: int, most: int | None = None) -> int:
    """A whole number from `least` to `most`, of any type that is one, as Python's own.

    Raises:
        ParameterError: it is none, or out of that range.
    """
    try:
        number = operator.index(value)
    except TypeError:
        raise ParameterError(f"{name} is {value!r}: it must be a whole number") from None
    if most is None and number < least:
        raise ParameterError(f"{name} is {number}: it must be {least} or more")
    if most is not None and not least <= number <= most:
        raise ParameterError(f"{name} is {number}: it must be from {least} to {most}")
    return number
