"""A file read through a guard, which turns what a read raises into errors of ours."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import IO, Any

Guard = Callable[[], AbstractContextManager[None]]

_BLOCK = 1 << 16


def guarded(file: IO[bytes], guard: Guard) -> IO[bytes]:
    """A file whose reads and seeks, some of which ask the network, are done under a guard.

    Args:
        file: to read; it is closed with the result.
        guard: makes the context of one read.
    """
    return io.BufferedReader(_Guarded(file, guard), _BLOCK)  # whose lines can be bounded


class _Guarded(io.RawIOBase):
    def __init__(self, file: IO[bytes], guard: Guard) -> None:
        super().__init__()
        self._file, self._guard = file, guard

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._file.seekable()

    def readinto(self, buffer: Any) -> int:
        with self._guard():
            data = self._file.read(len(buffer))
            buffer[: len(data)] = data
            return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with self._guard():
            return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
