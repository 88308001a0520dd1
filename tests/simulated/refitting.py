"""New weights into an engine that is there."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import runtime
from export.engine.refit import refit_bundle
from export.errors import ExportError
from runtime.backends.tensorrt import open_engine
from runtime.backends.tensorrt_log import log_of
from runtime.bundle.engines import cache
from runtime.bundle.reader import Bundle
from tests.simulated.rig import (
    DRIVER,
    GIGABYTE,
    feeds,
    fine,
    forget_gpus,
    raises,
    ranges,
    scenario,
    sidecar,
)
from tests.simulated.tensorrt_module import engine_bytes
from tests.support.bundles import inverse_graph, write_bundle


def _refittable(folder: Path, refittable: bool = True, form: str = "flat") -> Bundle:
    """A bundle with an engine of its inverse that takes new weights."""
    bundle = write_bundle(folder / "old")
    graph = inverse_graph(True)
    profiles = [{n: (r.smallest, r.best, r.largest) for n, r in ranges(8, 1).items()}]
    data = engine_bytes(graph, profiles, refittable=refittable)
    engine = sidecar(graph, data, refittable=refittable, profiles=(ranges(8, 1),), form=form)
    (bundle / engine.file).write_bytes(data)
    manifest = replace(Bundle.open(bundle).manifest, engines=(engine.to_mapping(),))
    (bundle / "manifest.json").write_text(manifest.to_json(), encoding="utf-8")
    return Bundle.open(bundle)


def _refit(new: Bundle, old: Bundle, **options: Any) -> Any:
    return refit_bundle(new, old, "tensorrt-rtx", directions=("inverse",), **options)


@scenario
def new_weights_go_into_an_engine_without_compiling(folder: Path) -> None:
    old = _refittable(folder)
    new = Bundle.open(write_bundle(folder / "new", gain=0.5))
    (made,) = _refit(new, old)
    graph = new.manifest.graphs[0]
    assert made.engine.graph == graph.sha256
    assert made.engine.refittable
    assert made.engine.profiles == (ranges(8, 1),)
    assert made.path.parent == cache.folder()
    values = feeds()
    halves = open_engine("tensorrt-rtx", new.read_graph(graph), new.folder).run(values)["hr"]
    whole = open_engine("tensorrt-rtx", inverse_graph(True), old.folder).run(values)["hr"]
    assert np.allclose(halves, whole / 2, atol=1e-6)
    fine()


@scenario
def the_library_gets_one_log_for_running_and_refitting(folder: Path) -> None:
    library = sys.modules["tensorrt_rtx"]
    old = _refittable(folder)
    new = Bundle.open(write_bundle(folder / "new", gain=0.5))
    _refit(new, old)
    open_engine("tensorrt-rtx", inverse_graph(True), old.folder)
    _refit(new, old)
    assert {id(log) for log in library._registered} == {id(log_of(library))}  # type: ignore[attr-defined]


@scenario
def a_refitted_engine_can_lie_in_the_bundle_and_be_refitted_again(folder: Path) -> None:
    old = _refittable(folder)
    for number, gain in enumerate((0.5, 0.25)):
        new = Bundle.open(write_bundle(folder / str(number), gain=gain))
        (made,) = _refit(new, old, into_bundle=True)
        assert made.path.parent == new.folder
        old = Bundle.open(new.folder)
    image = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
    gpu = runtime.load(old.folder, backend="tensorrt-rtx").upscale(image)
    assert np.array_equal(gpu, runtime.load(old.folder).upscale(image))
    fine()


@scenario
def an_engine_in_another_form_takes_new_weights_and_keeps_it(folder: Path) -> None:
    old = _refittable(folder, form="pass-through")
    new = Bundle.open(write_bundle(folder / "new", gain=0.5))
    (made,) = _refit(new, old)
    assert made.engine.form == "pass-through"
    old = _refittable(folder / "unknown", form="of-tomorrow")
    raises(ExportError, "compile it again", lambda: _refit(new, old))
    fine()


@scenario
def another_architecture_is_refused_by_its_first_difference(folder: Path) -> None:
    old = _refittable(folder)
    new = Bundle.open(write_bundle(folder / "new", latents=False))
    raises(ExportError, "another architecture", lambda: _refit(new, old))


@scenario
def an_engine_that_was_not_made_for_it_is_refused_with_the_command(folder: Path) -> None:
    old = _refittable(folder, refittable=False)
    new = Bundle.open(write_bundle(folder / "new", gain=0.5))
    raises(ExportError, "--refit", lambda: _refit(new, old))


@scenario
def refitting_without_a_gpu_is_refused_with_the_way_out(folder: Path) -> None:
    old = _refittable(folder)
    new = Bundle.open(write_bundle(folder / "new", gain=0.5))
    DRIVER.sim_machine(0, 13000, GIGABYTE)
    forget_gpus()
    try:
        raises(ExportError, "--refit-from needs a GPU", lambda: _refit(new, old))
    finally:
        DRIVER.sim_machine(1, 13000, GIGABYTE)
        forget_gpus()
