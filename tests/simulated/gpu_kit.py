"""The checks of `tests.gpu` that need a driver, on the simulated one: they hold, and they catch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from export.engine import bundle_engines
from runtime.backends.cuda.arrays import DeviceArray, view
from runtime.backends.cuda.device import Device
from runtime.backends.cuda.stream import Stream
from runtime.bundle.reader import Bundle
from tests.gpu import arrays, bundles, driver
from tests.gpu.record import Record, Report, records
from tests.simulated.rig import DRIVER, download, fine, prepare, scenario, upload


def _found(folder: Path, work: Callable[[Report], None]) -> list[Record]:
    report = Report("check", folder / "records")
    report.file.unlink(missing_ok=True)
    work(report)
    return records(report.file)


def _hold(found: list[Record]) -> None:
    assert found
    assert {r.outcome for r in found} == {"ok"}, [r for r in found if r.outcome != "ok"]


class Transposed:
    """An array whose interface states strides that are not contiguous."""

    def __init__(self, array: DeviceArray) -> None:
        self.array = array
        strides = [array.dtype.itemsize * n for n in (1, *np.cumprod(array.shape[:0:-1]))]
        self.__cuda_array_interface__ = array.__cuda_array_interface__ | {"strides": tuple(strides)}


def _stand_in() -> arrays.Library:
    """Our own arrays in place of a library's."""
    own = Stream.make(Device.open())

    def put(values: Any) -> DeviceArray:
        array = upload(own, {"a": values})["a"]
        own.synchronise()
        return array

    def take(array: DeviceArray) -> DeviceArray:
        found = view("result", array, own)
        copied = DeviceArray(own, array.shape, array.dtype)
        own.copy(copied.pointer, found.pointer, array.nbytes)
        return copied

    return arrays.Library(
        name="the stand-in",
        put=put,
        get=lambda array: download(own, array),
        late=lambda values: upload(own, {"a": values})["a"],
        transposed=Transposed,
        by_dlpack=take,
        by_interface=take,
        stream=lambda: own,
    )


@scenario
def the_machine_is_told_by_its_driver(folder: Path) -> None:
    found = _found(folder, driver.check_machine)
    assert found[0].outcome == "ok"
    assert found[0].figures["GPU"] == Device.open().name


@scenario
def every_check_of_the_driver_layer_holds(folder: Path) -> None:
    _hold(_found(folder, lambda report: driver.check(report, 4096)))
    fine()


@scenario
def the_check_of_the_latents_holds(folder: Path) -> None:
    _hold(_found(folder, lambda report: driver.check_latents(report, 9)))
    fine()


@scenario
def arrays_go_in_and_out_in_the_right_order(folder: Path) -> None:
    library = _stand_in()
    _hold(_found(folder, lambda report: arrays.exchange(report, library, (1, 3, 4, 6))))
    fine()


@scenario
def arrays_that_are_not_waited_for_are_caught(folder: Path) -> None:
    before = Stream.follow
    Stream.follow = lambda self, earlier: None
    try:
        library = _stand_in()
        found = _found(folder, lambda report: arrays.exchange(report, library, (1, 3, 4, 6)))
    finally:
        Stream.follow = before
    violation = DRIVER.sim_violation().decode()
    assert violation or any(r.outcome == "failed" for r in found)


@scenario
def a_driver_that_copies_wrong_bytes_is_caught(folder: Path) -> None:
    before = Stream.copy
    Stream.copy = lambda self, target, source, size: before(self, target, source, size // 2)
    try:
        found = _found(folder, lambda report: driver.check(report, 4096))
    finally:
        Stream.copy = before
    assert any("the bytes differ" in r.detail for r in found), found


@scenario
def a_bundle_goes_through_the_self_test_of_the_kit(folder: Path) -> None:
    _, where = prepare(folder)
    opened = bundles.bundle_of
    bundles.bundle_of = lambda name: Bundle.open(where)
    try:
        found = _found(folder, bundles.check_selftest)
    finally:
        bundles.bundle_of = opened
    drawn = next(r for r in found if r.name.startswith("latents drawn"))
    assert drawn.outcome == "ok"
    assert not any(r.name == "the self-test goes through" for r in found)


@scenario
def engines_of_the_kit_are_compiled_and_timed_by_form(folder: Path) -> None:
    _, where = prepare(folder)
    asked: list[Any] = []

    def compile_bundle(bundle: Bundle, options: Any, **which: Any) -> list[Any]:
        asked.append((options.library, options.form, which["precisions"]))
        return [SimpleNamespace(engine=SimpleNamespace(build_seconds=1.5, bytes=2_000_000))]

    replaced = (
        (bundles, "bundle_of", lambda name: Bundle.open(where)),
        (bundles, "FRAME", (3, 5)),
        (bundles, "SECONDS", 1e-6),
        (bundles, "PRECISIONS_AND_FORMS", (("fp32", "flat"), ("fp32", None))),
        (bundle_engines, "compile_bundle", compile_bundle),
    )
    before = [(module, name, getattr(module, name)) for module, name, _ in replaced]
    try:
        for module, name, value in replaced:
            setattr(module, name, value)
        found = _found(folder, bundles.check_engines)
    finally:
        for module, name, value in before:
            setattr(module, name, value)
    assert ("tensorrt-rtx", "flat", ("fp32",)) in asked
    timed = [r for r in found if "tensorrt-rtx" in r.name]
    assert [r.outcome for r in timed] == ["ok", "ok"], found
    assert all(r.figures["ms"] > 0 and r.figures["s to compile"] == 1.5 for r in timed)
    fine()
