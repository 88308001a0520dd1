"""A journal beside a large result: a run that was killed resumes at the rows it had reached.

Finished blocks of rows stand in `RESULT.hcflow-pixels` as raw pixels, and are listed, with their
CRC-32, in `RESULT.hcflow-journal`, whose first line holds what they depend on. A block is listed
only once its pixels are on disk. Both files are removed when the result is complete or cancelled.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import stat
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from runtime.errors import Cancelled, FileError
from runtime.system.lock import lock

_logger = logging.getLogger(__name__)

_PIXELS, _JOURNAL = ".hcflow-pixels", ".hcflow-journal"  # after the result's name

LONGEST_NAME = 255 - len(_JOURNAL)
"""Bytes that a result's name may have, for a journal's to fit beside it."""


class Journal:
    """The finished blocks of one result; use as a context manager.

    Attributes:
        pixels: the file of raw rows.
        blocks: how many of them, from the first on, are there and intact.
    """

    def __init__(self, result: str | os.PathLike[str], settings: Mapping[str, Any]) -> None:
        """Open the journal of a result, or begin one where there is none with these settings.

        Raises:
            FileError: another process is writing the same result, or something that is not a file
                stands in the journal's place.
            OSError: the folder is not writable.
        """
        real = os.path.realpath(result)
        self.pixels = Path(real + _PIXELS)
        self._path = Path(real + _JOURNAL)
        # Keys on disk are those of version 0.1, whose journals are resumed.
        self._head = json.dumps({"recipe": settings}, sort_keys=True)
        self._lines: IO[str] = open(  # noqa: SIM115
            self._path, "a+", encoding="ascii", errors="replace", opener=_no_link
        )
        if not lock(self._lines.fileno(), wait=False) or not _is_at(self._lines, self._path):
            self._lines.close()
            raise FileError(f"'{result}' is being written by another process")
        try:
            self._raw: IO[bytes] = open(self.pixels, "a+b", opener=_no_link)  # noqa: SIM115
        except BaseException:
            self._lines.close()
            raise
        self.blocks = self._recover(str(result))

    def append(self, data: bytes) -> None:
        """Put the next block's rows on disk, then list it."""
        self._raw.write(data)
        self._raw.flush()
        os.fsync(self._raw.fileno())
        line = {"band": self.blocks, "bytes": len(data), "crc32": zlib.crc32(data)}
        self._lines.write(json.dumps(line) + "\n")
        self._lines.flush()
        os.fsync(self._lines.fileno())
        self.blocks += 1

    def discard(self) -> None:
        """Remove both files: the result is complete."""
        for path in (self.pixels, self._path):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.blocks == 0 or isinstance(exc[1], Cancelled):  # nothing to resume
            self.discard()
        self._raw.close()
        self._lines.close()

    def _recover(self, result: str) -> int:
        """Read what an earlier run has left, cut off what is not whole, and count the blocks."""
        self._lines.seek(0)
        lines = self._lines.read().split("\n")
        good, end = [self._head], 0
        if lines[0] == self._head:
            self._raw.seek(0)
            for line in lines[1:]:
                size = self._intact(line, len(good) - 1)
                if size is None:
                    break
                good.append(line)
                end += size
        elif lines != [""]:
            _logger.warning(
                "'%s' is started again: an earlier run had another input, model, backend, "
                "engine or options",
                result,
            )
        self._raw.truncate(end)
        self._raw.seek(end)
        self._lines.seek(0)
        self._lines.truncate()
        self._lines.write("\n".join(good) + "\n")
        self._lines.flush()
        if len(good) > 1:
            _logger.warning("resuming '%s' after %d finished blocks of rows", result, len(good) - 1)
        return len(good) - 1

    def _intact(self, line: str, index: int) -> int | None:
        """The size of the block that a line lists, if its pixels are on disk as it says."""
        try:
            entry = json.loads(line)
            number, size, crc = (int(entry[key]) for key in ("band", "bytes", "crc32"))
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            return None
        if number != index or not 0 < size <= os.fstat(self._raw.fileno()).st_size:
            return None
        data = self._raw.read(size)
        return size if len(data) == size and zlib.crc32(data) == crc else None


def _no_link(path: str, flags: int) -> int:
    """Open a file, never what a link points at: it will be emptied."""
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        handle = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENXIO):
            raise
    else:
        if stat.S_ISREG(os.fstat(handle).st_mode):
            return handle
        os.close(handle)
    raise FileError(f"'{path}' is not a file, and a journal would stand there: remove it")


def _is_at(file: IO[str], path: Path) -> bool:
    """False for a journal that another process has removed between its opening and its locking."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
