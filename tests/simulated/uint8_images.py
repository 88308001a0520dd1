"""Engines whose images are uint8."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir

import runtime
from export.graph import uint8_boundary
from runtime.backends.tensorrt import open_engine
from runtime.bundle import uint8_images
from runtime.bundle.engines.entry import Range
from runtime.bundle.manifest import Numerics
from runtime.errors import ParameterError
from tests.simulated.rig import (
    download,
    feeds,
    fine,
    new_stream,
    plan,
    raises,
    ranges,
    scenario,
    sidecar,
    upload,
)
from tests.support.bundles import inverse_graph, write_bundle

GRAPH = ir.to_proto(uint8_boundary.convert(inverse_graph(True))).SerializeToString()


def _ranges() -> dict[str, Range]:
    def at_the_boundary(name: str, each: Range) -> Range:
        sizes = (each.smallest, each.best, each.largest)
        return Range(*(uint8_images.shape(name, size) for size in sizes))

    return {name: at_the_boundary(name, each) for name, each in ranges(8, 2).items()}


def _values(seed: int = 0) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    values = feeds(seed=seed)
    return values | {"lr": np.rint(values["lr"] * np.float32(255)) / np.float32(255)}


def _prepare(folder: Path) -> Path:
    """A bundle whose uint8 graph has an engine."""
    bundle = write_bundle(folder / "bundle")
    data = plan(GRAPH, (_ranges(),))
    engine = sidecar(GRAPH, data, profiles=(_ranges(),))
    (bundle / engine.file).write_bytes(data)
    manifest = runtime.Bundle.open(bundle).manifest
    entry = next(g for g in manifest.graphs if g.direction == "inverse")
    entry = replace(
        entry, io="uint8", file="inverse.uint8.onnx", sha256=engine.graph, bytes=len(GRAPH)
    )
    (bundle / entry.file).write_bytes(GRAPH)
    manifest = replace(manifest, graphs=(*manifest.graphs, entry), engines=(engine.to_mapping(),))
    (bundle / "manifest.json").write_text(manifest.to_json(), encoding="utf-8")
    return bundle


@scenario
def uint8_images_cross_the_bus_as_uint8(folder: Path) -> None:
    s = open_engine("tensorrt-rtx", GRAPH, _prepare(folder))
    cpu = runtime.backends.open_session("onnxruntime", GRAPH, Numerics(False, "float32", "f32"), 1)
    for seed in range(4):  # plain, captured, replayed, replayed
        values = uint8_images.inputs(_values(seed))
        got, want = s.run(values), cpu.run(values)
        assert got["hr"].dtype == np.uint8
        assert np.array_equal(got["hr"], want["hr"])
        assert np.array_equal(got["health"], want["health"])
    (prepared,) = s._streams[-1]._prepared.values()
    assert prepared.host["lr"].array.nbytes == 3 * 3 * 5
    fine()


@scenario
def a_model_upscales_through_a_uint8_engine(folder: Path) -> None:
    bundle = _prepare(folder)
    image = np.random.default_rng(0).integers(0, 256, (8, 6, 3), np.uint8)
    model = runtime.load(bundle, backend="tensorrt-rtx", io="uint8")
    assert np.array_equal(
        model.upscale(image, tau=1.0, seed=3), runtime.load(bundle).upscale(image, tau=1.0, seed=3)
    )
    fine()


@scenario
def uint8_gpu_arrays_are_taken_and_floats_refused(folder: Path) -> None:
    s = open_engine("tensorrt-rtx", GRAPH, _prepare(folder))
    stream = new_stream()
    values = uint8_images.inputs(_values())
    out = s.enqueue(upload(stream, values), stream.handle)
    assert np.array_equal(download(stream, out["hr"]), s.run(values)["hr"])
    floats = upload(stream, _values())
    raises(
        ParameterError,
        "input 'lr' is float32: the engine takes uint8",
        lambda: s.enqueue(floats, stream.handle),
    )
    stream.synchronise()
    fine()
