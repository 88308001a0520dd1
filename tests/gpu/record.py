"""What a check found, written down at once: a check that dies keeps what it had found."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

Outcome = Literal["ok", "failed", "skipped"]


class SkippedError(Exception):
    """What is tried needs something that this machine lacks; the message names it."""


class WrongError(Exception):
    """What was measured is not what has to be; the message gives the figures."""


@dataclass(frozen=True)
class Record:
    """One line of the report.

    Attributes:
        check: the check it belongs to.
        name: what was tried, as a sentence.
        outcome: `skipped` where the machine lacks something.
        detail: the reason, or what else there is to say.
        figures: by name, with the unit in it.
    """

    check: str
    name: str
    outcome: Outcome
    detail: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)


class Report:
    """Where a check writes its records: a file of JSON lines."""

    def __init__(self, check: str, file: Path) -> None:
        self.check = check
        self.file = file

    def add(
        self,
        name: str,
        outcome: Outcome,
        detail: str = "",
        figures: Mapping[str, Any] | None = None,
    ) -> None:
        record = Record(self.check, name, outcome, detail, dict(figures or {}))
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(record), default=str) + "\n")

    def attempt(self, name: str, work: Callable[[], Mapping[str, Any] | str | None]) -> bool:
        """Do `work`, which gives figures or a detail, and record how it ended; whether it held."""
        try:
            found = work()
        except SkippedError as reason:
            self.add(name, "skipped", str(reason))
            return False
        except Exception as error:  # any library may fail in any way: that is what is asked
            self.add(name, "failed", f"{type(error).__name__}: {one_line(error)}")
            return False
        figures = found if isinstance(found, Mapping) else {}
        self.add(name, "ok", found if isinstance(found, str) else "", figures)
        return True


def one_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:400] if lines else ""


def records(file: Path) -> list[Record]:
    """What was written so far; a line that was cut off is left out."""
    found = []
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        try:
            found.append(Record(**json.loads(line)))
        except ValueError:
            continue
    return found


def require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise WrongError(otherwise)
