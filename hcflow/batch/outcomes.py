"""What became of a shard's rows: kept in parts while it runs, in one file when it is finished."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hcflow.batch import storage, urls
from runtime.errors import FileError

FOLDER = "_done"
"""The folder of the outcomes, in that of the results."""

_PART = re.compile(r"[0-9]{8}\.jsonl")
_PART_ROWS = 4096
_PART_SECONDS = 20.0


@dataclass
class Count:
    """How many rows have a result, and how many an error."""

    done: int = 0
    failed: int = 0

    def add(self, outcome: Mapping[str, Any]) -> None:
        """Count one more."""
        if "error" in outcome:
            self.failed += 1
        else:
            self.done += 1


class Outcomes:
    """The outcomes of one shard, each a JSON object on a line, told apart by their `row`.

    Args:
        results: the folder or URL of all results.
        shard: the shard's name.
        work: a folder here for files that are being written.

    Raises:
        FileError: what an earlier run has left cannot be read.
    """

    def __init__(self, results: str, shard: str, work: Path) -> None:
        self.count = Count()
        self._shard, self._work = shard, work
        self._parts = parts_of(results, shard)
        self._finished = finished_name(results, shard)
        self._seen = bytearray()
        self._lines: list[str] = []
        self._written = 0
        self._last = time.monotonic()
        for _ in self._before():
            pass

    def has(self, row: int) -> bool:
        """Whether this row's outcome is known already."""
        return row < len(self._seen) and bool(self._seen[row])

    def add(self, outcome: Mapping[str, Any]) -> None:
        """Note what became of a row; raises `FileError` as `flush`."""
        self.count.add(outcome)
        self._mark(int(outcome["row"]))
        self._lines.append(json.dumps(outcome) + "\n")
        is_due = time.monotonic() - self._last >= _PART_SECONDS
        if is_due or len(self._lines) >= _PART_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what was added since the last part as another one.

        Raises:
            FileError: another process works on this shard too, or it cannot be written.
        """
        if self._lines:
            name = urls.join(self._parts, f"{self._written:08d}.jsonl")
            try:
                storage.create_text("".join(self._lines), name, self._work)
            except FileExistsError:
                raise _taken(self._shard) from None
            self._lines.clear()
            self._written += 1
        self._last = time.monotonic()

    def finish(self) -> None:
        """Write the file that says the shard is finished, and remove the parts; as `flush`."""
        self.flush()  # another process's part, whose rows are not known here, has that name
        whole = self._work / "finished.jsonl"
        with whole.open("w", encoding="ascii") as file:
            for outcome in self._before():
                file.write(json.dumps(outcome) + "\n")
        try:
            storage.create(whole, self._finished)
        except FileExistsError:
            storage.remove_folder(self._parts)  # nobody reads those of a finished shard
            raise _taken(self._shard) from None
        storage.remove_folder(self._parts)

    def _before(self) -> Iterator[dict[str, Any]]:
        """The outcomes in the parts, the first of each row, which are counted anew on the way."""
        self.count = Count()
        self._seen.clear()
        self._written = 0
        for name in filter(_PART.fullmatch, storage.files_in(self._parts)):
            for outcome in _read(urls.join(self._parts, name)):
                if not self.has(outcome["row"]):
                    self.count.add(outcome)
                    self._mark(outcome["row"])
                    yield outcome
            self._written = int(name.split(".")[0]) + 1

    def _mark(self, row: int) -> None:
        if row >= len(self._seen):
            self._seen.extend(bytes(row + 1 - len(self._seen) + _PART_ROWS))
        self._seen[row] = 1


def finished_name(results: str, shard: str) -> str:
    """The file that is there once a shard is finished."""
    return urls.join(results, f"{FOLDER}/{shard}.jsonl")


def parts_of(results: str, shard: str) -> str:
    """The folder of the parts of a shard that is not finished."""
    return urls.join(results, f"{FOLDER}/{shard}.parts")


def count_finished(results: str, shard: str, rows: int | None = None) -> Count | None:
    """The count of a finished shard; None of one that is not.

    Args:
        results: the folder or URL of all results.
        shard: the shard's name.
        rows: how many it has, where that is known.

    Raises:
        FileError: its outcomes cannot be read, or are not those of so many rows.
    """
    name = finished_name(results, shard)
    if not storage.exists(name):
        return None
    count = Count()
    for outcome in _read(name):
        count.add(outcome)
    if rows is not None and count.done + count.failed < rows:
        raise _damaged(name)
    return count


def _read(name: str) -> Iterator[dict[str, Any]]:
    """The outcomes in a file; raises `FileError` where it holds something else."""
    with storage.open_file(name) as file:
        for line in file:
            try:
                outcome = json.loads(line)
            except ValueError:
                raise _damaged(name) from None
            if not isinstance(outcome, dict) or not isinstance(outcome.get("row"), int):
                raise _damaged(name)
            yield outcome


def _damaged(name: str) -> FileError:
    return FileError(f"'{name}' is damaged: remove it and run the shard again")


def _taken(shard: str) -> FileError:
    return FileError(f"another process has worked on shard {shard} too: run it once at a time")
