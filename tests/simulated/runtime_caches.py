"""Kernels that TensorRT-RTX makes at run time: kept by every way to run, trusted only as ours."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np

from runtime.backends.cuda.device import Device
from runtime.backends.cuda.driver import check, driver
from runtime.backends.tensorrt_engine import LoadedEngine
from runtime.backends.tensorrt_session import EngineSession
from runtime.bundle.engines import cache
from tests.simulated.rig import (
    Lines,
    broken,
    caught,
    download,
    expected,
    feeds,
    fine,
    new_stream,
    scenario,
    session,
    upload,
)
from tests.simulated.tensorrt_module import CUT_SHORT, KERNELS

STRANGE = (b"", b"kernels of another driver", KERNELS + b"LAZY" + CUT_SHORT)


def _file() -> Path:
    (found,) = cache.folder().glob("*.runtime-cache")
    return found


def _kernels(session: EngineSession) -> bytes:
    return bytes(session._loaded._runtime_cache.kernels)


@scenario
def runs_on_the_callers_stream_keep_their_kernels_too(folder: Path) -> None:
    s, stream = session(folder), new_stream()
    given = upload(stream, feeds())
    s.enqueue(given, stream.handle)
    assert b"LAZY" in _file().read_bytes()
    result = s.enqueue(given, stream.handle)["hr"]
    assert b"EAGER" in _file().read_bytes()
    assert _kernels(session(folder)) == _file().read_bytes()
    assert np.array_equal(download(stream, result), expected(feeds()))
    fine()


@scenario
def a_cache_that_does_not_fit_is_made_again(folder: Path) -> None:
    session(folder).run(feeds())
    for blob in STRANGE:
        _file().write_bytes(blob)
        s = session(folder)
        assert _kernels(s) == KERNELS
        assert np.array_equal(s.run(feeds())["hr"], expected(feeds()))
        assert _file().read_bytes().startswith(KERNELS + b"LAZY")
        assert not _file().read_bytes().endswith(CUT_SHORT)
    fine()


@scenario
def mistake_a_cache_that_does_not_fit_is_kept(folder: Path) -> None:
    session(folder).run(feeds())
    _file().write_bytes(STRANGE[1])
    with broken(LoadedEngine, "save_runtime_cache", lambda self: None):
        session(folder).run(feeds())
    assert _file().read_bytes() == STRANGE[1]


@scenario
def mistake_a_cache_read_without_a_context(folder: Path) -> None:
    session(folder).run(feeds())
    check(driver().cuCtxSetCurrent(0))
    with broken(Device, "current", _nothing):
        try:
            session(folder)
        finally:
            Device.open().use()
    caught("while another context is current")


def _nothing(self: Device) -> object:
    return contextlib.nullcontext()


@scenario
def a_cache_that_others_can_write_to_is_not_read(folder: Path) -> None:
    session(folder).run(feeds())
    ours = _file().read_bytes()
    log = Lines("runtime.backends.tensorrt_engine")
    _file().chmod(0o666)
    s = session(folder)
    assert _kernels(s) == KERNELS
    assert any("can be written by everyone" in line for line in log.lines), log.lines
    s.run(feeds())
    assert (_file().read_bytes(), _file().stat().st_mode & 0o022) == (ours, 0)
    cache.folder().chmod(0o777)
    try:
        assert _kernels(session(folder)) == KERNELS
    finally:
        cache.folder().chmod(0o700)


@scenario
def of_two_processes_the_last_one_to_write_wins_and_the_file_is_whole(folder: Path) -> None:
    first, second = session(folder), session(folder)
    first.run(feeds(height=3))
    second.run(feeds(height=4))
    assert _file().read_bytes() == _kernels(second)
    first.run(feeds(height=5))
    assert _file().read_bytes() == _kernels(first)
    assert [path.suffix for path in cache.folder().iterdir()] == [".runtime-cache"]
    fine()
