"""Files judged in a process of their own: a reader that dies or hangs costs its file alone."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from pathlib import Path

import runtime
from runtime.images.codecs import notices
from tests.images.judge import Verdict, judge

_SECONDS = 300.0  # a file may take; a reader that takes longer is at fault
_model: list[runtime.Model | None] = [None]


def judged(paths: Sequence[Path], bundle: Path | None) -> Iterator[Verdict]:
    """A verdict for each file; a reader that dies or takes too long is wrong about its file."""
    waiting = list(paths)
    while waiting:
        with multiprocessing.get_context("spawn").Pool(1, _start, [bundle]) as pool:
            while waiting:
                path = waiting.pop(0)
                try:
                    yield pool.apply_async(_judge, [path]).get(_SECONDS)
                except multiprocessing.TimeoutError:
                    why = f"no end within {_SECONDS:g} s, or the reader died"
                    yield Verdict(path.name, path.suffix.lower(), "wrong", why)
                    break


def _start(bundle: Path | None) -> None:
    notices.capture()
    if bundle is not None:
        _model[0] = runtime.load(bundle)


def _judge(path: Path) -> Verdict:
    return judge(path, _model[0])
