"""What the GPU backend must do: every run right, nothing copied, waited for or leaked unasked."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import runtime
from runtime.backends import tensorrt_stream
from runtime.backends.session import Layer
from runtime.backends.tensorrt import open_engine
from runtime.backends.tensorrt_session import EngineSession
from runtime.bundle.engines import cache
from runtime.errors import BackendError
from tests.simulated.rig import (
    DRIVER,
    broken,
    expected,
    feeds,
    fine,
    plan,
    prepare,
    raises,
    ranges,
    scenario,
    session,
    sidecar,
)
from tests.simulated.tensorrt_module import KERNELS
from tests.support.bundles import inverse_graph


@scenario
def host_arrays_give_what_the_cpu_gives(folder: Path) -> None:
    s = session(folder)
    for seed in range(4):  # plain, captured, replayed, replayed
        values = feeds(seed=seed)
        assert np.array_equal(s.run(values)["hr"], expected(values))
    fine()


@scenario
def the_second_run_of_a_shape_is_captured_and_then_replayed(folder: Path) -> None:
    graph, bundle = prepare(folder, library="tensorrt", version="11.1.0.106")
    s = open_engine("tensorrt", graph, bundle)
    s.run(feeds())
    (made,) = s._streams[-1]._prepared.values()
    assert made.graph is None
    s.run(feeds())
    assert made.graph is not None
    before = DRIVER.sim_copies()
    s.run(feeds())
    assert DRIVER.sim_copies() == before  # one launch, no single copies
    fine()


@scenario
def a_shape_that_comes_back_is_compiled_for_run_once_and_then_captured(folder: Path) -> None:
    s = session(folder)
    s.run(feeds())
    (made,) = s._streams[-1]._prepared.values()
    assert made.context.specialised == "LAZY"
    s.run(feeds())
    assert made.context.specialised == "EAGER"
    assert (made.graph, s.graph_runs) == (None, 0)
    for seed in range(3):
        assert np.array_equal(s.run(feeds(seed=seed))["hr"], expected(feeds(seed=seed)))
    assert s.graph_runs == 3
    s.run(feeds(height=4))  # other shapes start from the beginning
    assert [each.context.specialised for each in s._streams[-1]._prepared.values()] == [
        "EAGER",
        "LAZY",
    ]
    fine()


@scenario
def an_image_of_several_windows_is_compiled_for_before_its_first_one(folder: Path) -> None:
    _, bundle = prepare(folder, profiles=(ranges(16, 1),))
    image = np.random.default_rng(0).integers(0, 256, (12, 12, 3), np.uint8)
    seen: list[str] = []
    execute = tensorrt_stream.EngineStream._execute

    def note(stream: Any, prepared: Any, *rest: Any) -> None:
        seen.append(prepared.context.specialised)
        execute(stream, prepared, *rest)

    for side, kinds in ((6, ["EAGER"]), (12, ["LAZY", "EAGER"])):
        model = runtime.load(bundle, backend="tensorrt-rtx")
        seen.clear()
        with broken(tensorrt_stream.EngineStream, "_execute", note):
            first, second = (model.upscale(image, tile=side, overlap=0) for _ in range(2))
        assert list(dict.fromkeys(seen)) == kinds
        assert np.array_equal(first, second)
    fine()


@scenario
def buffers_are_made_once_a_shape(folder: Path) -> None:
    s = session(folder)
    s.run(feeds())
    used = DRIVER.sim_used()
    for seed in range(20):
        s.run(feeds(seed=seed))
    assert DRIVER.sim_used() == used
    fine()


@scenario
def many_shapes_are_bounded_and_memory_returns_to_its_start(folder: Path) -> None:
    start = DRIVER.sim_used()
    s = session(folder)
    for height in range(1, 17):
        values = feeds(height=height)
        for _ in range(3):
            assert np.array_equal(s.run(values)["hr"], expected(values))
    assert len(s._streams[-1]._prepared) == tensorrt_stream.MOST_SHAPES
    s.close()
    assert DRIVER.sim_used() == start
    fine()


@scenario
def growing_scratch_memory_drops_the_graphs_that_knew_it(folder: Path) -> None:
    s = session(folder)
    small, large = feeds(1, 2, 2), feeds(2, 16, 16)
    for values in (small, small, large, small, large, large, small):
        assert np.array_equal(s.run(values)["hr"], expected(values))
    fine()


@scenario
def a_second_profile_takes_what_the_first_does_not(folder: Path) -> None:
    s = session(folder)
    values = feeds(2, 12, 16)
    assert np.array_equal(s.run(values)["hr"], expected(values))
    fine()


@scenario
def threads_share_a_session(folder: Path) -> None:
    s = session(folder)
    wrong: list[str] = []

    def work(seed: int) -> None:
        for i in range(6):
            values = feeds(height=1 + (seed + i) % 4, seed=seed)
            if not np.array_equal(s.run(values)["hr"], want[seed, i]):
                wrong.append(f"thread {seed}, run {i}")

    want = {
        (seed, i): expected(feeds(height=1 + (seed + i) % 4, seed=seed))
        for seed in range(4)
        for i in range(6)
    }
    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, wrong
    fine()


@scenario
def the_runtime_cache_is_kept_on_disk_and_read_again(folder: Path) -> None:
    s = session(folder)
    s.run(feeds())
    (kept,) = cache.folder().glob("*.runtime-cache")
    kept.write_bytes(KERNELS + b"of yesterday;")
    again = session(folder)
    assert again._loaded._runtime_cache.kernels == KERNELS + b"of yesterday;"


@scenario
def layers_are_timed_without_a_graph_and_leave_nothing_behind(folder: Path) -> None:
    s = session(folder)
    values = feeds()
    for _ in range(3):
        s.run(values)
    assert s.layer_times(values, 4) == [Layer("the whole graph", "engine layer", 0.5e-3)]
    assert not s._streams[-1]._prepared
    assert np.array_equal(s.run(values)["hr"], expected(values))
    fine()


@scenario
def shapes_that_the_smallest_engine_does_not_hold_run_on_the_next(folder: Path) -> None:
    graph, bundle = prepare(folder, profiles=(ranges(5, 1),))
    data = plan(graph, (ranges(16, 2),))
    name = f"{hashlib.sha256(graph).hexdigest()[:12]}.large.engine"
    cache.write(sidecar(graph, data, file=name, profiles=(ranges(16, 2),)), data)
    s = open_engine("tensorrt-rtx", graph, bundle)
    assert s.engine.file == "inverse.engine"
    small, large = feeds(), feeds(2, 12, 16)
    assert np.array_equal(s.run(small)["hr"], expected(small))
    assert not s._opened
    assert np.array_equal(s.run(large)["hr"], expected(large))
    assert [each.engine.file for each in s._opened.values()] == [name]
    raises(BackendError, "outside the engine's shapes", lambda: s.run(feeds(height=17)))
    s.close()
    fine()


@scenario
def an_engine_that_does_not_hold_the_shapes_is_not_loaded_for_them(folder: Path) -> None:
    graph, bundle = prepare(folder, profiles=(ranges(5, 1),))
    for side in (8, 16):
        data = plan(graph, (ranges(side, 1),))
        name = f"{hashlib.sha256(graph).hexdigest()[:12]}.{side}.engine"
        cache.write(sidecar(graph, data, file=name, profiles=(ranges(side, 1),)), data)
    s = open_engine("tensorrt-rtx", graph, bundle)
    large = feeds(height=12, width=16)
    assert np.array_equal(s.run(large)["hr"], expected(large))
    assert [each.engine.file for each in s._opened.values()] == [name]
    text = "1×3×5×5, z1 1×6×2×2 … 1×6×10×10, z2 1×21×1×1 … 1×21×5×5 or lr 1×3×1×1 … 1×3×8×8"
    raises(BackendError, text, lambda: s.run(feeds(height=17)))
    s.close()
    fine()


@scenario
def an_engine_that_cannot_tell_its_scratch_memory_does_not_run_without_any(folder: Path) -> None:
    s = session(folder)
    s._loaded.engine.no_scratch = True  # type: ignore[attr-defined]
    text = "cannot tell the scratch memory of these shapes: an allocation failed"
    raises(BackendError, text, lambda: s.run(feeds()))


@scenario
def tensorrt_itself_runs_too(folder: Path) -> None:
    graph, bundle = prepare(folder, library="tensorrt", version="11.1.0.106")
    s = open_engine("tensorrt", graph, bundle)
    values = feeds()
    for _ in range(3):
        assert np.array_equal(s.run(values)["hr"], expected(values))
    fine()


@scenario
def a_version_compatible_engine_may_bring_host_code_along_and_no_other(folder: Path) -> None:
    made_here = {"library": "tensorrt", "version": "11.1.0.106"}
    graph, bundle = prepare(folder, version_compatible=True, **made_here)
    values = feeds()
    s = open_engine("tensorrt", graph, bundle)
    assert np.array_equal(s.run(values)["hr"], expected(values))
    data = plan(graph, host_code=True)
    manifest = replace(
        runtime.Bundle.open(bundle).manifest,
        engines=(sidecar(graph, data, **made_here).to_mapping(),),
    )
    (bundle / "manifest.json").write_text(manifest.to_json(), encoding="utf-8")
    refused = "host code is not allowed"
    raises(BackendError, refused, lambda: open_engine("tensorrt", graph, bundle))


@scenario
def a_model_runs_on_the_engine_of_its_bundle(folder: Path) -> None:
    _, bundle = prepare(folder)
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    on_gpu = runtime.load(bundle, backend="tensorrt-rtx").upscale(image, tau=0.5, seed=3)
    assert np.array_equal(on_gpu, runtime.load(bundle).upscale(image, tau=0.5, seed=3))
    network = runtime.load(bundle, backend="auto")._network
    network.decode(np.zeros((1, 3, 4, 4), np.float32))
    assert any(isinstance(s, EngineSession) for _, s in network._choices._sessions.values())
    fine()


@scenario
def an_engine_of_the_users_cache_is_found(folder: Path) -> None:
    graph = inverse_graph(True)
    data = plan(graph)
    cache.write(sidecar(graph, data, file=f"{sidecar(graph, data).graph[:12]}.e.engine"), data)
    s = open_engine("tensorrt-rtx", graph, None)
    values = feeds()
    assert np.array_equal(s.run(values)["hr"], expected(values))
