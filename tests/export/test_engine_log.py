"""What is learnt from a compiler while it runs: its progress and its log."""

from __future__ import annotations

import gc
import threading
import weakref

from export.engine.log import Record, logger, monitor
from runtime.bundle.engines.entry import Memory


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
    base = type("Base", (), {"__init__": lambda self: None})
    trt = type("a_library", (), {"ILogger": base})
    first, second = (weakref.ref(logger(trt, Record())) for _ in range(2))
    gc.collect()
    assert first() is not None
    assert second() is None


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
