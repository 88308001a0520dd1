"""Captured graphs: never of an engine that is not ready, and engines that cannot run without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from runtime.backends.cuda.driver import check, driver
from runtime.backends.cuda.stream import Stream
from runtime.backends.tensorrt_stream import EngineStream
from runtime.errors import BackendError, ParameterError
from tests.simulated.rig import (
    DRIVER,
    broken,
    caught,
    expected,
    feeds,
    fine,
    new_stream,
    raises,
    scenario,
    session,
    upload,
)

SMALL, LARGE = feeds(1, 2, 2), feeds(2, 16, 16)


@scenario
def an_engine_that_breaks_captures_runs_without_them(folder: Path) -> None:
    s = session(folder)
    s._loaded.engine.breaks_captures = True
    for seed in range(6):
        values = feeds(seed=seed)
        assert np.array_equal(s.run(values)["hr"], expected(values))
    assert s.graph_runs == 0
    fine()


@scenario
def a_capture_that_the_driver_refuses_leaves_plain_runs(folder: Path) -> None:
    for function in ("cuStreamBeginCapture", "cuGraphInstantiateWithFlags"):
        s = session(folder)
        DRIVER.sim_fail(function.encode(), 900, 0)
        for seed in range(5):
            values = feeds(seed=seed)
            assert np.array_equal(s.run(values)["hr"], expected(values))
        assert s.graph_runs == 0
    fine()


@scenario
def a_stream_that_the_caller_is_capturing_is_refused(folder: Path) -> None:
    s, stream = session(folder), new_stream()
    given = upload(stream, feeds())
    check(driver().cuStreamBeginCapture(stream.handle, driver().CUstreamCaptureMode(1)))
    raises(ParameterError, "stream is being captured", lambda: s.enqueue(given, stream.handle))
    check(driver().cuStreamEndCapture(stream.handle))
    fine()


@scenario
def mistake_a_capture_straight_after_scratch_memory_moved(folder: Path) -> None:
    def hasty(self: EngineStream, context: Any) -> None:
        right(self, context)
        for prepared in self._prepared.values():
            prepared.runs = 1

    s = session(folder)
    with broken(EngineStream, "_give_scratch", hasty) as right:
        for values in (SMALL, SMALL, SMALL, LARGE, SMALL):
            s.run(values)
    caught("an engine that has work left to prepare is captured")


@scenario
def mistake_memory_allocated_in_a_capture(folder: Path) -> None:
    def greedy(self: EngineStream, prepared: Any) -> None:
        self._loaded.device.allocate(16)
        right(self, prepared)

    s = session(folder)
    with broken(EngineStream, "_work", greedy) as right:
        for _ in range(3):
            s.run(SMALL)
    caught("memory is allocated during a capture")


@scenario
def mistake_a_graph_destroyed_while_it_runs(folder: Path) -> None:
    s = session(folder)
    for _ in range(4):
        s.run(SMALL)
    with (
        broken(Stream, "synchronise", lambda self: None),
        broken(EngineStream, "_wait", lambda self: None),
    ):
        s.run(SMALL)
        s.run(LARGE)
    caught("a graph is destroyed while it runs")


@scenario
def mistake_a_capture_that_is_not_ended(folder: Path) -> None:
    def careless(self: Stream, work: Any) -> None:
        check(driver().cuStreamBeginCapture(self.handle, driver().CUstreamCaptureMode(1)))
        work()

    s = session(folder)
    with broken(Stream, "capture", careless):
        s.run(SMALL)
        s.run(SMALL)
        raises(BackendError, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", lambda: s.run(SMALL))
    driver().cuStreamEndCapture(s._streams[-1]._stream.handle)
    caught("a stream is waited for during its capture")
