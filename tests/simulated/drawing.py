"""Latents drawn on the GPU: the host's bits, whether the run is plain, captured or the caller's."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import runtime
from runtime.backends.cuda.latents import Drawer
from runtime.errors import BackendError
from runtime.latents import Region
from tests.simulated.rig import (
    DRIVER,
    GIGABYTE,
    download,
    expected,
    feeds,
    fine,
    new_stream,
    prepare,
    raises,
    scenario,
    session,
    upload,
)


def _regions(seed: int, left: int = 0) -> dict[str, Region]:
    return {
        "z1": Region(seed, 7, 1, 6, 4, 2 * left, 6, 10, 0.9),
        "z2": Region(seed, 7, 2, 21, 2, left, 3, 5, 0.9),
    }


def _host(values: dict[str, object]) -> dict[str, object]:
    return {n: v.values() if isinstance(v, Region) else v for n, v in values.items()}


@scenario
def latents_drawn_on_the_gpu_are_the_hosts_to_the_bit(folder: Path) -> None:
    s = session(folder)
    assert s.draws_latents
    for seed in range(5):  # plain, captured, replayed: of other places each time
        values = {**feeds(seed=seed), **_regions(seed, left=seed)}
        assert np.array_equal(s.run(values)["hr"], expected(_host(values)))
    fine()


@scenario
def drawn_latents_do_not_cross_the_bus(folder: Path) -> None:
    s = session(folder)
    s.run({**feeds(), **_regions(0)})
    assert DRIVER.sim_copies() == 2  # lr there, hr back
    fine()


@scenario
def given_and_drawn_latents_of_one_shape_do_not_meet(folder: Path) -> None:
    s = session(folder)
    for _ in range(3):
        drawn, given = {**feeds(), **_regions(3)}, feeds(seed=1)
        assert np.array_equal(s.run(drawn)["hr"], expected(_host(drawn)))
        assert np.array_equal(s.run(given)["hr"], expected(given))
    fine()


@scenario
def latents_are_drawn_in_the_callers_stream_without_waiting(folder: Path) -> None:
    s = session(folder)
    stream = new_stream()
    values = {**feeds(), **_regions(11)}
    arrays = upload(stream, {"lr": values["lr"]})
    s.enqueue({**arrays, **_regions(10)}, stream.handle)  # a shape's first run makes its context
    waits = DRIVER.sim_waits()
    out = s.enqueue({**arrays, **_regions(11)}, stream.handle)
    assert DRIVER.sim_waits() == waits
    assert np.array_equal(download(stream, out["hr"]), expected(_host(values)))
    fine()


@scenario
def a_model_draws_on_the_gpu_and_gives_the_cpus_picture(folder: Path) -> None:
    _, bundle = prepare(folder)
    image = np.random.default_rng(0).integers(0, 256, (13, 9, 3), np.uint8)
    options = {"tau": 1.0, "seed": 3, "tile": 4, "overlap": 2}
    gpu = runtime.load(bundle, backend="tensorrt-rtx").upscale(image, **options)
    assert np.array_equal(gpu, runtime.load(bundle).upscale(image, **options))
    fine()


@scenario
def a_driver_that_refuses_the_kernel_leaves_drawing_to_the_host(folder: Path) -> None:
    DRIVER.sim_machine(1, 12080, GIGABYTE)
    Drawer.open.cache_clear()
    try:
        s = session(folder)
        assert not s.draws_latents
        values = {**feeds(), **_regions(5)}
        assert np.array_equal(s.run(values)["hr"], expected(_host(values)))
        stream = new_stream()
        raises(
            BackendError,
            "refuses the kernel that draws latents",
            lambda: s.enqueue({**upload(stream, feeds()), **_regions(5)}, stream.handle),
        )
        stream.synchronise()
    finally:
        DRIVER.sim_machine(1, 13000, GIGABYTE)
        Drawer.open.cache_clear()
    fine()
