"""GPU memory: what is freed stays ready; where it is short tiles become smaller, then one error."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import runtime
from hcflow.measure import profile
from runtime import backends
from runtime.backends.cuda.device import Device
from runtime.backends.cuda.driver import check, driver
from runtime.backends.session import Session
from runtime.bundle.engines.entry import Memory
from runtime.bundle.engines.program import Program
from runtime.bundle.graph_entry import RecordedGrid
from runtime.checks import verify
from runtime.errors import BackendError, GpuMemoryError
from runtime.inference.auto import gpu_grid
from runtime.inference.grid import Tiling
from runtime.inference.plan import plan_for
from runtime.inference.report import Report
from runtime.system import gpus as data_sheets
from runtime.system.gpus import DataSheet
from tests.simulated.rig import (
    DRIVER,
    Lines,
    broken,
    download,
    expected,
    feeds,
    fine,
    gpus,
    new_stream,
    prepare,
    raises,
    ranges,
    scenario,
    session,
    upload,
)

MEGABYTE = 1 << 20


def _enqueue_and_drop(folder: Path) -> None:
    s = session(folder)
    stream = new_stream()
    given = upload(stream, feeds())
    for _ in range(10):
        s.enqueue(given, stream.handle)
        stream.synchronise()


@scenario
def what_results_leave_stays_in_our_pool_and_the_programs_own_is_let_alone(folder: Path) -> None:
    _enqueue_and_drop(folder)
    assert DRIVER.sim_returned() == 0
    fine()


@scenario
def mistake_a_pool_that_gives_memory_back_whenever_somebody_waits(folder: Path) -> None:
    device = Device.open()
    right = device.pool
    properties = driver().CUmemPoolProps()
    properties.allocType = driver().CUmemAllocationType.CU_MEM_ALLOCATION_TYPE_PINNED
    device.pool = check(driver().cuMemPoolCreate(properties))  # and no threshold
    try:
        _enqueue_and_drop(folder)
    finally:
        device.pool = right
    assert DRIVER.sim_returned() > 5


@scenario
def a_closed_session_gives_all_memory_back(folder: Path) -> None:
    device, s, stream = Device.open(), session(folder), new_stream()
    device.trim()
    free, _ = device.memory()
    given = upload(stream, feeds())
    for _ in range(3):
        s.run(feeds())
        s.enqueue(given, stream.handle)
    stream.synchronise()
    del given
    stream.synchronise()
    assert device.memory()[0] < free
    s.close()
    stream.synchronise()  # the inputs that the last run kept go back in their own stream
    device.trim()
    assert device.memory()[0] == free
    fine()


@scenario
def a_dropped_session_gives_all_memory_back(folder: Path) -> None:
    start = DRIVER.sim_used()
    _, bundle = prepare(folder)
    image = np.zeros((8, 8, 3), np.uint8)
    for _ in range(3):
        s = session(folder / "one")
        s.run(feeds())
        s.run(feeds(height=4))
        del s
        assert DRIVER.sim_used() == start
        model = runtime.load(bundle, backend="tensorrt-rtx")
        model.upscale(image)
        del model
        assert DRIVER.sim_used() == start
    fine()


@scenario
def a_session_that_is_dropped_waits_for_what_it_queued(folder: Path) -> None:
    s, values = session(folder), feeds()
    producer, consumer = new_stream(), new_stream()
    given = upload(producer, values)
    producer.synchronise()
    result = s.enqueue(given, consumer.handle)["hr"]
    del given, s
    gc.collect()
    producer.synchronise()
    assert np.array_equal(download(consumer, result), expected(values))
    fine()


@scenario
def a_session_dropped_beside_a_capture_is_freed_and_leaves_it_whole(folder: Path) -> None:
    for mode in (0, 1):  # what the caller's program captures with
        start, s, stream = DRIVER.sim_used(), session(folder / str(mode)), new_stream()
        s.run(feeds())
        check(driver().cuStreamBeginCapture(stream.handle, driver().CUstreamCaptureMode(mode)))
        del s
        assert DRIVER.sim_used() == start
        check(driver().cuStreamEndCapture(stream.handle))
    fine()


@scenario
def memory_that_a_dropped_session_cannot_free_is_told(folder: Path) -> None:
    s, log = session(folder), Lines("runtime.backends.tensorrt_session")
    s.run(feeds())
    DRIVER.sim_fail(b"cuMemFreeHost", 700, 0)
    del s
    assert any("a session that was dropped keeps GPU memory" in line for line in log.lines)


@scenario
def a_closed_session_is_closed_once_and_runs_no_more(folder: Path) -> None:
    s = session(folder)
    s.run(feeds())
    s.close()
    s.close()
    raises(BackendError, "the session is closed", lambda: s.run(feeds()))
    fine()


@contextmanager
def _sessions_kept(owner: Any) -> Iterator[list[Session]]:
    """Every session that is opened there, held and opened while no other has memory."""
    start, right, kept = DRIVER.sim_used(), owner.open_graph, list[Session]()

    def open_graph(*arguments: Any) -> Session:
        assert DRIVER.sim_used() == start, "another session still has its memory"
        kept.append(right(*arguments))
        return kept[-1]

    with broken(owner, "open_graph", open_graph):
        yield kept
    assert DRIVER.sim_used() == start


@scenario
def checks_of_many_graphs_hold_the_memory_of_one(folder: Path) -> None:
    bundle = runtime.Bundle.open(prepare(folder)[1])
    graphs = [bundle.graph("inverse", "fp32", None)] * 2
    with _sessions_kept(verify) as kept, broken(verify, "graphs_for", lambda *_: graphs):
        checks = list(verify.check_graphs(bundle, "tensorrt-rtx"))
    assert (len(kept), {check.comparison.ok for check in checks}) == (2, {True})
    fine()


@scenario
def a_profile_counts_no_memory_of_the_settings_before_it(folder: Path) -> None:
    bundle = runtime.Bundle.open(prepare(folder)[1])
    sizes = [(8, 8), (4, 4), (8, 8)]
    settings = list(profile.settings(["tensorrt-rtx"], bundle, ("inverse",), None, sizes, [1]))
    with _sessions_kept(backends) as kept:
        found = [profile.profile(bundle, setting, 1, 0.01) for setting in settings]
    assert [each.skipped for each in found] == [None] * 3
    assert len(kept) >= 3
    memory = [each.peak_memory or 0 for each in found]
    assert memory[0] == memory[2] > memory[1]
    fine()


def _large(folder: Path) -> Path:
    _, bundle = prepare(folder, profiles=(ranges(64, 1),))
    return bundle


@scenario
def short_gpu_memory_takes_smaller_tiles_before_the_image_starts(folder: Path) -> None:
    bundle = _large(folder)
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    model = runtime.load(bundle, backend="tensorrt-rtx")
    tiling, log = Tiling(64, 0), Lines("runtime.inference.plan")
    with gpus(1, DRIVER.sim_used() + 8 * MEGABYTE):  # a window of 64 takes 14
        plan = plan_for(model.network, "inverse", 64, 64, latents=True, tiling=tiling)
        assert (plan.grid.tile, plan.memory_short) == (32, True)
        assert any("memory is short" in line for line in log.lines)
        small = model.upscale(image, tau=0.5, tile=64, overlap=0)
    cpu = runtime.load(bundle)
    assert np.array_equal(small, cpu.upscale(image, tau=0.5, tile=32, overlap=0))
    fine()


@scenario
def windows_that_fit_the_l2_cache_are_taken_where_that_is_predicted_faster(folder: Path) -> None:
    grids = (RecordedGrid(64, 0), RecordedGrid(32, 0))
    moved = Program({"fp32": 1}, 0, 0, 1 << 40, {"fp32": 1})
    _, bundle = prepare(
        folder, profiles=(ranges(64, 1),), memory=Memory(None, None, 6_000_000), program=moved
    )
    manifest = runtime.Bundle.open(bundle).manifest
    tiled = [replace(each, tile=64, overlap=0, grids=grids) for each in manifest.graphs]
    manifest = replace(manifest, graphs=tuple(tiled))
    (bundle / "manifest.json").write_text(manifest.to_json(), encoding="utf-8")
    model = runtime.load(bundle, backend="tensorrt-rtx")
    assert plan_for(model.network, "inverse", 64, 64).grid.tile == 64  # no data sheet: unknown
    sheet = DataSheet(1, 1, 1, 1, None, 1)
    with (
        broken(data_sheets, "_GPUS", {"Simulated GPU": sheet}),
        broken(gpu_grid, "SCRATCH", 0.0),
    ):
        chosen = plan_for(model.network, "inverse", 64, 64)
        assert (chosen.grid.tile, chosen.memory_short) == (32, False)
        report = Report()
        image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
        made = model.upscale(image, report=report)
        assert (report.tile, report.tiles) == (32, 4)
        assert plan_for(model.network, "inverse", 64, 64, tiling=Tiling(64, 0)).grid.tile == 64
    assert np.array_equal(made, runtime.load(bundle).upscale(image, tile=32, overlap=0))
    assert Device.open().l2 == 6 * MEGABYTE
    fine()


@scenario
def where_not_even_a_small_window_fits_the_error_says_what_is_free(folder: Path) -> None:
    model = runtime.load(_large(folder), backend="tensorrt-rtx")
    image = np.zeros((64, 64, 3), np.uint8)
    with gpus(1, DRIVER.sim_used() + 100_000):
        for text in ("out of GPU memory: ", "MB are free: give smaller images or tiles"):
            raises(GpuMemoryError, text, lambda: model.upscale(image, tile=64, overlap=0))
    model.upscale(image, tile=64, overlap=0)  # and there is memory again
    fine()


@scenario
def a_run_on_gpu_arrays_takes_the_memory_that_is_kept_for_other_shapes(folder: Path) -> None:
    s, stream, values = session(folder), new_stream(), feeds(height=4)
    s._idle.get()  # only one stream is left
    s._usable = 1
    s.run(feeds())
    given = upload(stream, values)
    stream.synchronise()
    Device.open().trim()
    free, total = Device.open().memory()
    # Scratch memory grows by 15360 bytes; the other shape's buffers take 5760.
    with gpus(1, total - free + 15360 - 1):
        result = s.enqueue(given, stream.handle)["hr"]
        assert np.array_equal(download(stream, result), expected(values))
    fine()


@scenario
def too_little_page_locked_memory_is_told_as_the_hosts(folder: Path) -> None:
    DRIVER.sim_fail(b"cuMemAllocHost", 2, 0)
    text = "out of memory: 4 MB of page-locked host memory are needed"
    wanted = (1 << 20,), np.dtype(np.float32)
    raises(GpuMemoryError, text, lambda: Device.open().pinned(*wanted))


@scenario
def memory_for_one_run_at_a_time_is_enough(folder: Path) -> None:
    graph, bundle = prepare(folder, profiles=(ranges(64, 1),))
    s = backends.open_session("tensorrt-rtx", graph, _numerics(bundle), 1, bundle)
    values = {seed: feeds(height=32, width=32, seed=seed) for seed in range(4)}
    want = {seed: expected(each) for seed, each in values.items()}
    found = {}

    def work(seed: int) -> None:
        found[seed] = [s.run(values[seed])["hr"] for _ in range(3)]

    with gpus(1, DRIVER.sim_used() + 5 * MEGABYTE):  # one run takes 3.6
        threads = [threading.Thread(target=work, args=(seed,)) for seed in values]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert all(np.array_equal(each, want[seed]) for seed in want for each in found[seed])
    fine()


def _numerics(bundle: Path) -> runtime.bundle.graph_entry.Numerics:  # type: ignore[name-defined]
    return runtime.Bundle.open(bundle).manifest.graphs[0].numerics


@scenario
def a_new_shape_may_take_what_an_old_one_keeps(folder: Path) -> None:
    graph, bundle = prepare(folder, profiles=(ranges(64, 1),))
    s = backends.open_session("tensorrt-rtx", graph, _numerics(bundle), 1, bundle)
    first, second = feeds(height=40, width=40), feeds(height=40, width=38)
    with gpus(1, DRIVER.sim_used() + 6 * MEGABYTE):  # scratch 4.9, buffers 0.6 a shape
        for values in (first, second, first, second):
            assert np.array_equal(s.run(values)["hr"], expected(values))
    fine()


@scenario
def a_gpu_that_others_fill_is_named_and_auto_goes_on(folder: Path) -> None:
    graph, bundle = prepare(folder)
    s = session(folder)
    s._loaded.engine.exhausted = True
    text = "out of GPU memory: no execution context for the engine"
    raises(GpuMemoryError, text, lambda: s.run(feeds()))
    module = sys.modules["tensorrt_rtx"]

    def full(self: object, data: bytes) -> None:
        self.log.log(1, "Error Code 2: OutOfMemory (Requested size was 9 bytes.)")  # type: ignore[attr-defined]

    with broken(module.Runtime, "deserialize_cuda_engine", full):  # type: ignore[attr-defined]
        opened = lambda name: backends.open_session(name, graph, _numerics(bundle), 1, bundle)  # noqa: E731
        raises(GpuMemoryError, "does not load", lambda: opened("tensorrt-rtx"))
        assert np.array_equal(opened("auto").run(feeds())["hr"], expected(feeds()))
