"""The checks of `hcflow selftest` on the simulated GPU: they hold, and they catch."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

from runtime.backends.cuda.device import Device
from runtime.backends.cuda.stream import Stream
from runtime.backends.tensorrt_stream import EngineStream
from runtime.bundle.reader import Bundle
from runtime.checks import engine_checks, selftest
from runtime.checks.outcome import Result, attempt
from runtime.errors import BackendError
from tests.simulated.rig import broken, fine, prepare, ranges, scenario, sidecar
from tests.simulated.tensorrt_module import engine_bytes
from tests.support.bundles import inverse_graph


def _check(folder: Path, gain: float = 1.0) -> dict[str, Result]:
    """Every check of an engine whose network multiplies by `gain`."""
    _, where = prepare(folder)
    manifest = Bundle.open(where).manifest
    graph = inverse_graph(True, gain)
    profile = ranges(engine_checks.SIDE, 1)
    plain = {n: (r.smallest, r.best, r.largest) for n, r in profile.items()}
    data = engine_bytes(graph, [plain])
    engine = sidecar(inverse_graph(True), data, profiles=(profile,))
    (where / engine.file).write_bytes(data)
    manifest = replace(manifest, engines=(engine.to_mapping(),))
    (where / "manifest.json").write_text(manifest.to_json(), encoding="utf-8")
    bundle = Bundle.open(where)
    (entry,) = (g for g in bundle.manifest.graphs if g.direction == "inverse")
    before, engine_checks.MANY_RUNS = engine_checks.MANY_RUNS, 20
    try:
        return {r.name: r for r in engine_checks.check_engine(bundle, "tensorrt-rtx", entry)}
    finally:
        engine_checks.MANY_RUNS = before


@scenario
def every_check_of_the_selftest_holds(folder: Path) -> None:
    found = _check(folder)
    assert len(found) == 6
    assert {r.outcome for r in found.values()} == {"ok"}, found
    drawn = attempt("latents", selftest.check_latents)
    assert drawn.outcome == "ok", drawn
    fine()


@scenario
def an_engine_that_computes_something_else_fails_the_selftest(folder: Path) -> None:
    found = _check(folder, gain=1.01)
    (parity,) = (r for name, r in found.items() if "the CPU's numbers" in name)
    assert parity.outcome == "failed"
    assert "dB against the CPU" in parity.detail


@scenario
def a_replay_that_does_nothing_fails_the_selftest(folder: Path) -> None:
    with broken(Stream, "launch", lambda self, graph: None):
        found = _check(folder)
    (captured,) = (r for name, r in found.items() if "captured graphs" in name)
    assert captured.outcome == "failed"
    assert "of replay 1 differs from the plain run" in captured.detail


@scenario
def an_engine_without_graphs_passes_the_selftest_and_says_so(folder: Path) -> None:
    def refused(self: Stream, work: Any) -> None:
        raise BackendError("not here")

    with broken(Stream, "capture", refused):
        found = _check(folder)
    (captured,) = (r for name, r in found.items() if "captured graphs" in name)
    assert captured.outcome == "ok"
    assert "runs without captured graphs" in captured.detail


@scenario
def memory_that_is_lost_in_every_run_fails_the_selftest(folder: Path) -> None:
    def leaking(self: EngineStream, arrays: Any) -> Any:
        found = right(self, arrays)
        self._loaded.device.allocate(found["hr"].nbytes)
        return found

    with broken(EngineStream, "run", leaking) as right:
        found = _check(folder)
    (memory,) = (r for name, r in found.items() if "GPU memory" in name)
    assert memory.outcome == "failed"
    assert "are not free again, each of 3 times" in memory.detail


@scenario
def memory_that_a_desktop_takes_meanwhile_is_no_leak(folder: Path) -> None:
    taken = itertools.chain([0, 0, 0, 64 << 20], itertools.repeat(64 << 20))

    def memory(self: Device) -> tuple[int, int]:
        free, total = right(self)
        return free - next(taken), total

    with broken(Device, "memory", memory) as right:
        found = _check(folder)
    (checked,) = (r for name, r in found.items() if "GPU memory" in name)
    assert checked.outcome == "ok", checked
    assert next(taken) == 64 << 20
