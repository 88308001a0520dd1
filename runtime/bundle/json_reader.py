"""A reader of decoded JSON that checks types and ranges, and names the path of what is wrong."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from runtime.errors import BundleError

_LARGEST = sys.float_info.max
# JSON can spell half a surrogate pair, which UTF-8 cannot.
_LONE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Field:
    """One JSON value, its path (`$.graphs[0].bytes`) and the file it came from.

    Every method that reads raises `BundleError` when the value is not what is asked for.
    """

    value: Any
    where: str
    path: str = "$"

    def __getitem__(self, key: str) -> Field:
        """The value of a key that must be there."""
        members = self._of(dict, "an object")
        if key not in members:
            raise BundleError(f"{self.where}: {self.path}.{key} is missing")
        return Field(members[key], self.where, f"{self.path}.{key}")

    def get(self, key: str) -> Field | None:
        """The value of a key that may be absent or null."""
        value = self._of(dict, "an object").get(key)
        return None if value is None else Field(value, self.where, f"{self.path}.{key}")

    def items(self) -> list[Field]:
        """The elements of an array."""
        elements = self._of(list, "an array")
        return [Field(v, self.where, f"{self.path}[{i}]") for i, v in enumerate(elements)]

    def members(self) -> dict[str, Field]:
        """The members of an object."""
        members = self._of(dict, "an object")
        return {k: Field(v, self.where, f"{self.path}.{k}") for k, v in members.items()}

    def text(self, pattern: str = r".*", what: str = "a string") -> str:
        """A string that matches the pattern as a whole; `what` describes it in the error."""
        value: str = self._of(str, what)
        if re.fullmatch(pattern, value, re.DOTALL) is None or _LONE.search(value):
            raise self.wrong(what)
        return value

    def choice(self, options: Sequence[str]) -> str:
        """One of the strings given."""
        return self.text("|".join(map(re.escape, options)), "one of " + ", ".join(options))

    def integer(self, minimum: int, maximum: int = 2**53) -> int:
        """An integer from minimum to maximum, by default what float64 represents exactly."""
        if type(self.value) is not int or self.value < minimum:
            raise self.wrong(f"an integer, {minimum} or more")
        if self.value > maximum:
            raise self.wrong(f"an integer, {maximum} or less")
        return self.value

    def number(self, minimum: float = -math.inf) -> float:
        """A number ≥ minimum that a float64 holds."""
        least = max(minimum, -_LARGEST)
        if type(self.value) not in (int, float) or not least <= self.value <= _LARGEST:
            raise self.wrong("a number" + (f", {minimum:g} or more" if minimum > -math.inf else ""))
        return float(self.value)

    def flag(self) -> bool:
        """A boolean."""
        value: bool = self._of(bool, "true or false")
        return value

    def is_null(self) -> bool:
        """Whether the value is null."""
        return self.value is None

    def _of(self, kind: type, what: str) -> Any:
        if not isinstance(self.value, kind):
            raise self.wrong(what)
        return self.value

    def wrong(self, what: str) -> BundleError:
        """The error that says what the value is and what it must be."""
        shown = repr(self.value)
        shown = shown if len(shown) <= 60 else shown[:57] + "…"
        return BundleError(f"{self.where}: {self.path} is {shown}; it must be {what}")
