"""What is learnt from a compiler while it runs: its progress and its log."""

from __future__ import annotations

import gc
import threading
import weakref
from types import SimpleNamespace
from typing import Any

import pytest

from export.engine import compilers
from export.engine.compile import compile_graph
from export.engine.log import Record, monitor
from export.engine.options import EngineOptions
from runtime.backends import tensorrt_engine
from runtime.backends.tensorrt_log import log_of
from runtime.bundle.engines.entry import Memory
from runtime.errors import BackendError


class Severities:
    """The base class of the library's logs."""

    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


class Library:
    """As much of TensorRT as its log needs, hashable as a module is."""

    ILogger, __version__ = Severities, "1.0"


def test_progress_of_nested_phases_is_one_share_that_never_falls() -> None:
    trt = type("Trt", (), {"IProgressMonitor": type("Base", (), {"__init__": lambda self: None})})
    seen: list[float] = []
    cancelled = threading.Event()
    watch = monitor(trt, lambda _phase, share: seen.append(share), cancelled)
    watch.phase_start("build", None, 2)
    watch.phase_start("optimise", "build", 4)
    assert watch.step_complete("optimise", 1)
    watch.phase_finish("optimise")
    watch.step_complete("build", 0)
    watch.phase_start("late", "build", 10)
    assert seen == [0, 0, 0.25, 0.5, 0.5]
    cancelled.set()
    assert not watch.step_complete("late", 0)


def test_the_first_log_of_a_library_lives_as_long_as_the_process() -> None:
    library = Library()
    first = weakref.ref(log_of(library))
    gc.collect()
    assert first() is log_of(library)


def test_the_log_gives_memory_and_tells_out_of_memory_from_other_errors() -> None:
    record = Record()
    record.add("INFO", "Max Scratch Memory: 100 bytes")
    record.add("INFO", "Max Scratch Memory: 300 bytes")
    record.add("INFO", "Total Weights Memory: 7 bytes")
    record.add("INFO", "Total Activation Memory: 9 bytes")
    assert record.memory() == Memory(300, 7, 9)
    assert record.out_of_memory() is None
    record.add("ERROR", "Error Code 10: Could not find any implementation for node conv1")
    assert record.out_of_memory() is None  # an operator without a kernel is something else
    record.add("WARNING", "Skipping tactic 0x1 due to insufficient memory on requested size of 512")
    assert record.out_of_memory() == 512


def in_a_thread(work: Any, *arguments: Any) -> None:
    thread = threading.Thread(target=work, args=arguments)
    thread.start()
    thread.join()


def test_the_librarys_one_log_gives_every_compilation_its_own_lines(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = log_of(Library())
    first, second = Record(), Record()
    for record, word in ((first, "one"), (second, "two")):
        with log.recording(record.add):
            log.log(2, f"warning {word}")
            log.log(0, f"error\n{word}")
            log.log(3, "Total Weights Memory: 7 bytes")
            in_a_thread(log.log, 1, f"from a worker of {word}")
    assert first.errors == ["error one", "from a worker of one"]
    assert second.errors == ["error two", "from a worker of two"]
    assert (first.warnings, second.warnings) == (["warning one"], ["warning two"])
    assert first.memory().weights == 7
    assert not caplog.records


def test_lines_of_a_run_beside_a_compilation_are_no_lines_of_it() -> None:
    log, record = log_of(Library()), Record()
    reasons: list[str] = []

    def run() -> None:
        log.call(log.log, 1, "the run failed")
        reasons.append(log.reason())

    with log.recording(record.add):
        in_a_thread(run)
    assert (reasons, record.errors) == (["the run failed"], [])


def test_what_nobody_asked_for_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    log = log_of(Library())
    log.call(int)
    in_a_thread(log.log, 1, "an error after every call")
    in_a_thread(log.log, 2, "a warning")
    in_a_thread(log.log, 3, "a figure")
    assert caplog.messages == ["an error after every call", "a warning"]


def test_a_compiler_that_does_not_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    class Builder:
        def __init__(self, log: Any) -> None:
            log.log(1, "CUDA initialization failure with error: 35")
            raise TypeError("factory function returned nullptr")

    library = Library()
    monkeypatch.setattr(library, "Builder", Builder, raising=False)
    monkeypatch.setattr(tensorrt_engine, "load_library", lambda _: library)
    monkeypatch.setattr(compilers, "check", lambda _: None)
    monkeypatch.setattr("export.engine.compile.monitor", lambda *_: SimpleNamespace())
    with pytest.raises(BackendError, match=r"does not start .* failure with error: 35"):
        compile_graph(b"", (), "fp32", EngineOptions("tensorrt-rtx"))
