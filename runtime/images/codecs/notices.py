"""What decoders warn of, told with the name of the file it is about, each thing once.

Pillow warns through Python's warnings, libtiff on the process's standard error. Both are taken up
only where a program has asked for it (`capture`), because that concerns the whole process.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TextIO

from runtime.errors import one_line

_UNSUPPORTED = re.compile(r"[Uu]nsupported|not supported|not configured|not implemented")
_MOST = 20  # lines told of one file

_heard: ContextVar[list[str] | None] = ContextVar("heard", default=None)
_lock = threading.Lock()
_capturing = threading.Event()
_logger = logging.getLogger(__name__)


def capture() -> None:
    """Take up the warnings of decoders from now on, in the whole process."""
    if _capturing.is_set():
        return
    _capturing.set()
    usual = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if _heard.get() is None:
            usual(message, category, filename, lineno, file, line)
        else:
            add(str(message))

    warnings.showwarning = show
    logger = logging.getLogger("PIL")
    logger.addHandler(_Hearing())
    logger.propagate = False
    warnings.filterwarnings("always", module=r"PIL\.")  # else only the first file's is shown


class _Hearing(logging.Handler):
    """Pillow's own log, of which it tells some errors."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        add(record.getMessage())


@contextlib.contextmanager
def about(where: str | None) -> Iterator[None]:
    """Collect what is warned of here, and log it with the file's name at the end.

    Args:
        where: names the file; None drops the warnings: the file is read again.

    An error inside drops them too: it says what is wrong with the file.
    """
    heard: list[str] = []
    token = _heard.set(heard)
    try:
        yield
    finally:
        _heard.reset(token)
    if where is None:
        return
    once = list(dict.fromkeys(heard))
    for text in once[:_MOST]:
        _logger.warning("%s: %s", where, text)
    if len(once) > _MOST:
        _logger.warning("%s: and %d more warnings", where, len(once) - _MOST)


def add(text: str) -> None:
    """Warn of something about the file that is being read."""
    heard = _heard.get()
    if heard is None:
        _logger.warning("%s", text)
    else:
        heard.append(" ".join(text.split()))


@contextlib.contextmanager
def from_library() -> Iterator[None]:
    """Take up what a library writes to standard error; nothing else may be logged here.

    Where no temporary file can be made, or standard error is closed, it is not taken up.
    """
    if not _capturing.is_set():
        yield
        return
    with _lock, contextlib.ExitStack() as opened:
        try:
            kept = opened.enter_context(tempfile.TemporaryFile())
            usual = os.dup(2)
        except OSError:
            kept = None
        if kept is None:
            yield
            return
        os.dup2(kept.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(usual, 2)
            os.close(usual)
            kept.seek(0)
            for line in kept.read().decode("utf-8", "replace").splitlines():
                if line.strip():
                    add(line)


def is_unsupported(text: str) -> bool:
    """Whether a decoder's words are about a kind of file that it does not read, not damage."""
    return _UNSUPPORTED.search(text) is not None


def failure(where: str, text: str) -> str:
    """The words for a file that a decoder refuses for a reason: it is unsupported, or damaged."""
    if is_unsupported(text):
        return f"{where} is of a kind that is not read ({text}): convert it (magick IN OUT.png)"
    return f"{where} is damaged: {text}"


def reason(error: Exception) -> str:
    """Why a decoder failed: in a library's own words where it has said any, which are told then."""
    heard = _heard.get()
    return f"{one_line(error)}: {heard.pop()}" if heard else one_line(error)
