"""Checks of whole numbers that a caller gives."""

from __future__ import annotations

import operator
from typing import Any

from runtime.errors import ParameterError

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
    except TypeError:
        raise ParameterError(f"{name} is {value!r}: it must be a whole number") from None
    if most is None and number < least:
        raise ParameterError(f"{name} is {number}: it must be {least} or more")
    if most is not None and not least <= number <= most:
        raise ParameterError(f"{name} is {number}: it must be from {least} to {most}")
    return number
