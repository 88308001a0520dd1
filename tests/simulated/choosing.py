"""What `auto` takes of a bundle with engines: backend, precision, graphs of the target `rtx`."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import runtime
from runtime import Model
from runtime.convert import large_file
from runtime.convert.job import Job
from runtime.images.codecs import vips
from runtime.inference.grid import Tiling
from runtime.inference.report import Report
from tests.simulated.rig import (
    DRIVER,
    GIGABYTE,
    Lines,
    fine,
    forget_gpus,
    plan,
    raises,
    ranges,
    scenario,
    sidecar,
)
from tests.support.bundles import forward_graph, inverse_graph, write_bundle
from tests.support.one_model import OneModel

IMAGE = np.full((4, 5, 3), 100, np.uint8)
GAINS = {"fp32": 1.0, "fp16": 0.5, "fp8": 0.25}
"""Each precision's inverse multiplies its result by a number of its own, to be known by it."""


def _bundle(folder: Path, *, rtx: str = "") -> Path:
    """Both directions in fp32, fp16 and fp8, no engines; one precision may be for RTX alone."""
    bundle = write_bundle(folder / "bundle")
    manifest = runtime.Bundle.open(bundle).manifest
    graphs = []
    for precision in GAINS:
        for graph in manifest.graphs:
            data = _data(precision, graph.direction)
            low: Any = {"precision": precision, "target": "rtx" if precision == rtx else None}
            low |= {"file": f"{graph.direction}.{precision}.onnx", "bytes": len(data)}
            graphs.append(replace(graph, **low, sha256=sidecar(data, b"").graph))
            (bundle / graphs[-1].file).write_bytes(data)
    (bundle / "manifest.json").write_text(replace(manifest, graphs=tuple(graphs)).to_json())
    return bundle


def _data(precision: str, direction: str) -> bytes:
    if direction == "inverse":
        return inverse_graph(True, GAINS[precision])
    doc_string = b"\x32" + bytes([len(precision)]) + precision.encode()  # same graph, other bytes
    return forward_graph() + doc_string


def _compile(
    bundle: Path, precision: str, *directions: str, side: int = 16, **changes: Any
) -> None:
    """Engines of a bundle's graphs, in the bundle."""
    manifest = runtime.Bundle.open(bundle).manifest
    engines = list(manifest.engines)
    for direction in directions or ("inverse", "forward"):
        data = _data(precision, direction)
        profiles = (ranges(side, 1),) if direction == "inverse" else (_hr_ranges(),)
        engine = plan(data, profiles)
        entry = sidecar(
            data,
            engine,
            file=f"{direction}.{len(engines)}.engine",
            direction=direction,
            precision=precision,
            profiles=profiles,
            **changes,
        )
        (bundle / entry.file).write_bytes(engine)
        engines.append(entry.to_mapping())
    (bundle / "manifest.json").write_text(replace(manifest, engines=tuple(engines)).to_json())


def _hr_ranges() -> Any:
    one = ranges(64, 1)["lr"]
    return {"hr": replace(one, smallest=(1, 3, 4, 4), best=(1, 3, 64, 64))}


def _upscaled(model: Model) -> tuple[str, str, float]:
    """The backend and the precision of an upscale, and the gain of the graph that ran."""
    report = Report()
    result = model.upscale(IMAGE, report=report)
    assert report.backend is not None
    return report.backend, str(report.precision), float(np.round(result.mean() / 100, 2))


def _auto(bundle: Path, precision: Any = "auto", device: int | None = None) -> Model:
    return runtime.load(bundle, backend="auto", precision=precision, device=device)


@scenario
def auto_takes_the_engines_in_the_precision_that_is_best_on_a_gpu(folder: Path) -> None:
    bundle = _bundle(folder)
    assert _upscaled(_auto(bundle))[1:] == ("fp32", 1.0)
    _compile(bundle, "fp16")
    model = _auto(bundle)
    assert model.network.precisions == ("fp16",)
    assert model.network.may_use_gpu
    assert _upscaled(model) == ("tensorrt-rtx", "fp16", 0.5)
    assert _upscaled(_auto(bundle, "fp16")) == ("tensorrt-rtx", "fp16", 0.5)
    assert _upscaled(_auto(bundle, "fp32"))[1:] == ("fp32", 1.0)
    fine()


@scenario
def auto_takes_a_graph_that_is_made_for_rtx_where_its_engine_fits(folder: Path) -> None:
    bundle = _bundle(folder, rtx="fp8")
    asked = "use --backend tensorrt-rtx or tensorrt"
    raises(runtime.BundleError, asked, lambda: _auto(bundle, "fp8").upscale(IMAGE))
    _compile(bundle, "fp8")
    model = _auto(bundle, "fp8")
    assert _upscaled(model) == ("tensorrt-rtx", "fp8", 0.25)
    assert model.downscale(np.full((16, 16, 3), 100, np.uint8)).shape == (4, 4, 3)
    fine()


@scenario
def an_engine_that_does_not_load_is_passed_over_with_a_reason(folder: Path) -> None:
    bundle = _bundle(folder, rtx="fp16")  # no other backend takes what the engine was made from
    _compile(bundle, "fp16")
    engine = bundle / "inverse.0.engine"
    engine.write_bytes(bytes(engine.stat().st_size))
    log = Lines("runtime.backends.auto")
    model = _auto(bundle)
    backend, precision, gain = _upscaled(model)
    assert (backend in ("openvino", "onnxruntime"), precision, gain) == (True, "fp32", 1.0)
    (line,) = log.lines
    assert "does not have the SHA-256 of its entry: damaged; compile it again; using O" in line
    assert model.network.opened_on(model.network.graph("forward", False)) == "tensorrt-rtx"
    fine()


@scenario
def an_engine_that_fits_goes_before_one_in_a_better_precision_that_does_not(folder: Path) -> None:
    bundle = _bundle(folder)
    _compile(bundle, "fp16", compute_capabilities=("7.5",))
    log = Lines("runtime.backends.auto")
    model = _auto(bundle)
    assert not model.network.may_use_gpu
    assert _upscaled(model)[1:] == ("fp32", 1.0)
    assert "it was built for compute capability 7.5, this GPU has 8.9" in log.lines[0]
    _compile(bundle, "fp32")
    assert _upscaled(_auto(bundle)) == ("tensorrt-rtx", "fp32", 1.0)
    by_name = runtime.load(bundle, backend="tensorrt-rtx", precision="auto")
    assert _upscaled(by_name) == ("tensorrt-rtx", "fp32", 1.0)
    _compile(bundle, "fp16", library="tensorrt", version="9.0.0")  # fits no TensorRT here
    log.lines.clear()
    assert _upscaled(_auto(bundle)) == ("tensorrt-rtx", "fp32", 1.0)
    assert not log.lines
    fine()


@scenario
def without_a_gpu_auto_says_so_once_for_engines_of_every_precision(folder: Path) -> None:
    bundle = _bundle(folder)
    for precision in ("fp16", "fp32"):
        _compile(bundle, precision)
    forget_gpus()
    DRIVER.sim_machine(0, 13000, GIGABYTE)
    log = Lines("runtime.backends.auto")
    assert _upscaled(_auto(bundle))[1:] == ("fp32", 1.0)
    (line,) = log.lines
    assert "finds no GPU" in line
    DRIVER.sim_machine(1, 13000, GIGABYTE)
    fine()


@scenario
def engines_of_one_direction_leave_the_other_to_the_next_backend(folder: Path) -> None:
    bundle = _bundle(folder)
    _compile(bundle, "fp16", "inverse")
    log = Lines("runtime.backends.auto")
    model, report = _auto(bundle), Report()
    assert _upscaled(model) == ("tensorrt-rtx", "fp16", 0.5)
    assert not log.lines
    model.downscale(np.full((16, 16, 3), 100, np.uint8), report=report)
    assert report.backend in ("openvino", "onnxruntime")
    assert report.precision == "fp32"
    assert "there is no TensorRT-RTX engine of this graph here; compile one" in log.lines[0]
    by_name = runtime.load(bundle, backend="tensorrt-rtx", precision="auto")
    assert _upscaled(by_name) == ("tensorrt-rtx", "fp16", 0.5)
    fine()


@scenario
def a_large_file_begun_before_its_engine_was_made_is_begun_anew(folder: Path) -> None:
    if vips.find() is None:
        return
    bundle = _bundle(folder)
    source, result = folder / "in.png", folder / "out.png"
    Image.new("RGB", (5, 40), (100, 100, 100)).save(source)
    log = Lines("runtime.convert.journal")

    def begin(backend: str, stop: bool = True) -> None:
        model = runtime.load(bundle, backend=backend, precision="auto")
        job = Job("upscale", OneModel(model), tau=0.0, tiling=Tiling(8, 0))
        progress = _stop if stop else None
        with contextlib.suppress(KeyboardInterrupt):
            large_file.convert(job, str(source), str(result), "PNG", progress=progress)

    def said() -> str:
        line = log.lines[-1] if log.lines else ""
        log.lines.clear()
        return line

    begin("auto")
    for precision in ("fp32", "fp16"):  # the first is another backend alone
        _compile(bundle, precision)
        begin("auto")
        assert "is started again: an earlier run had another" in said()
    begin("tensorrt-rtx")  # by name it is the same computation
    assert "resuming" in said()
    _compile(bundle, "fp16", "inverse", side=8)  # for smaller shapes: it is taken first
    begin("auto")
    assert "is started again: an earlier run had another" in said()
    begin("auto", stop=False)
    assert "resuming" in said()
    pixels = np.asarray(Image.open(result))
    assert pixels.shape == (160, 20, 3)
    assert np.all(pixels == 50)  # of the fp16 graph's gain alone
    fine()


def _stop(*_: int) -> None:
    raise KeyboardInterrupt


@scenario
def without_the_gpu_of_a_number_auto_goes_on_in_the_next_backends_own_precision(
    folder: Path,
) -> None:
    bundle = _bundle(folder)
    _compile(bundle, "fp16")
    log = Lines("runtime.backends.auto")
    model = _auto(bundle, device=7)
    backend, precision, gain = _upscaled(model)
    assert (backend in ("openvino", "onnxruntime"), precision, gain) == (True, "fp32", 1.0)
    (line,) = log.lines
    assert "there is no GPU number 7" in line
    assert not model.network.may_use_gpu
