"""The checks of `hcflow selftest` on the simulated GPU: they hold, and they catch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from runtime.bundle.reader import Bundle
from runtime.checks import selftest
from tests.simulated.rig import fine, prepare, ranges, scenario, sidecar
from tests.simulated.tensorrt_module import engine_bytes
from tests.support.bundles import inverse_graph


def _check(folder: Path, gain: float = 1.0) -> dict[str, selftest.Result]:
    """Every check of an engine whose network multiplies by `gain`."""
    _, where = prepare(folder)
    manifest = Bundle.open(where).manifest
    graph = inverse_graph(True, gain)
    profile = ranges(selftest.SIDE, 1)
    plain = {n: (r.smallest, r.best, r.largest) for n, r in profile.items()}
    data = engine_bytes(graph, [plain])
    engine = sidecar(inverse_graph(True), data, profiles=(profile,))
    (where / engine.file).write_bytes(data)
    manifest = replace(manifest, engines=(engine.to_mapping(),))
    (where / "manifest.json").write_text(manifest.to_json(), encoding="utf-8")
    bundle = Bundle.open(where)
    (entry,) = (g for g in bundle.manifest.graphs if g.direction == "inverse")
    before, selftest.MANY_RUNS = selftest.MANY_RUNS, 20
    try:
        return {r.name: r for r in selftest.check_engine(bundle, "tensorrt-rtx", entry)}
    finally:
        selftest.MANY_RUNS = before


@scenario
def every_check_of_the_selftest_holds(folder: Path) -> None:
    found = _check(folder)
    assert len(found) == 6
    assert {r.outcome for r in found.values()} == {"ok"}, found
    drawn = selftest.attempt("latents", selftest.check_latents)
    assert drawn.outcome == "ok", drawn
    fine()


@scenario
def an_engine_that_computes_something_else_fails_the_selftest(folder: Path) -> None:
    found = _check(folder, gain=1.01)
    (parity,) = (r for name, r in found.items() if "the CPU's numbers" in name)
    assert parity.outcome == "failed"
    assert "dB against the CPU" in parity.detail
