"""Which images of a folder are finished: a line for each, in a file in the folder of the results.

A line is a digest of everything the result depends on: the job (models, options), the image's
name, size and time of change, and the result's. Whatever has changed since is done again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any, TextIO

from runtime.convert.job import before_on_gpus
from runtime.errors import FileError
from runtime.system import regular_file

FILE_NAME = ".hcflow-done"
_HEADER = "# finished by hcflow, one digest an image; safe to delete: all is then done again\n"
_DIGEST_BYTES = 16
_REPLACED = "-"  # before a digest that another has replaced
_MOST_BYTES = 1 << 30  # thirty million images


class Finished:
    """The finished images of a folder of results, kept as digests: some 100 bytes each."""

    def __init__(self, folder: str, job: Mapping[str, Any]) -> None:
        self._job = _text(job)
        earlier = before_on_gpus(job)
        self._earlier = None if earlier is None else _text(earlier)
        self._path = os.path.join(folder, FILE_NAME)
        self._done: set[bytes] = set()
        self._file: TextIO | None = None
        if os.path.lexists(self._path):
            try:
                data = regular_file.read(self._path, _MOST_BYTES, links=False)
            except OSError as error:
                raise FileError(
                    f"cannot use '{self._path}': {error.strerror}: remove it to start over"
                ) from None
            lines = data.decode("ascii", "replace").split("\n")
            self._done = {d for line in lines if (d := _parse(line)) is not None}
            self._done -= {d for line in lines if (d := _parse_replaced(line)) is not None}

    def has(self, relative: str, source: str, output: str) -> bool:
        """Whether this image's result is there, whole, and what would be made of it again."""
        try:
            mark = source_mark(source)
            if self._digest(self._job, relative, mark, output) in self._done:
                return True
            return self._earlier is not None and self._take_over(relative, mark, output)
        except OSError:
            return False

    def add(self, relative: str, mark: tuple[int, int], output: str) -> None:
        """Note a result that has just been written of an image with this mark."""
        digest = self._digest(self._job, relative, mark, output)
        self._write(digest.hex() + "\n")
        self._done.add(digest)

    def close(self) -> None:
        """Close the file; more may be added later."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _take_over(self, relative: str, mark: tuple[int, int], output: str) -> bool:
        """Replace an image's line by one of today, if a version before `ON_GPUS` has written one.

        Once replaced, the line holds for today's graphs alone.
        """
        assert self._earlier is not None
        earlier = self._digest(self._earlier, relative, mark, output)
        if earlier not in self._done:
            return False
        digest = self._digest(self._job, relative, mark, output)
        self._write(f"{digest.hex()}\n{_REPLACED}{earlier.hex()}\n")
        self._done.add(digest)
        self._done.remove(earlier)
        return True

    def _write(self, lines: str) -> None:
        if self._file is None:
            is_new = not os.path.exists(self._path)
            self._file = open(self._path, "a", encoding="ascii")  # noqa: SIM115 - closed by close
            # A line that a dying process left unfinished must not swallow the next one.
            self._file.write(_HEADER if is_new else "\n")
        self._file.write(lines)
        self._file.flush()

    @staticmethod
    def _digest(job: str, relative: str, mark: tuple[int, int], output: str) -> bytes:
        text = json.dumps([job, relative, mark, source_mark(output)])
        return hashlib.blake2b(text.encode("ascii"), digest_size=_DIGEST_BYTES).digest()


def source_mark(path: str) -> tuple[int, int]:
    """Size and time of change of a file, by which a change shows."""
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns


def _text(job: Mapping[str, Any]) -> str:
    return json.dumps(job, sort_keys=True, default=str)


def _parse_replaced(line: str) -> bytes | None:
    return _parse(line[len(_REPLACED) :]) if line.startswith(_REPLACED) else None


def _parse(line: str) -> bytes | None:
    try:
        digest = bytes.fromhex(line.strip())
    except ValueError:
        return None
    return digest if len(digest) == _DIGEST_BYTES else None
