"""Engines made when they are asked for and missing; the compiler itself is a stand-in."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import hcflow
from export.engine import bundle_engines, compilers
from runtime.bundle.engines import cache
from runtime.bundle.reader import Bundle
from tests.simulated.rig import broken, fine, plan, prepare, ranges, scenario, sidecar
from tests.support.bundles import inverse_graph, write_bundle


@contextmanager
def _compiler(graph: bytes = inverse_graph(True)) -> Iterator[list[Any]]:
    """Stands in for `compile_bundle`: notes what is asked for, and makes the inverse's engine."""
    asked: list[Any] = []

    def compile_bundle(_: Bundle, options: Any, **which: Any) -> list[Any]:
        asked.append((options.library, which["directions"], which["precisions"]))
        if which["directions"] == ("inverse",):
            data = plan(graph)
            made = sidecar(graph, data, file="made.engine")
            made = replace(
                made, file=f"{made.graph[:12]}.made.engine", profiles=(ranges(8, 1),) * 2
            )
            cache.write(made, data)
        return []

    before, bundle_engines.compile_bundle = bundle_engines.compile_bundle, compile_bundle
    try:
        yield asked
    finally:
        bundle_engines.compile_bundle = before


@scenario
def engines_that_do_not_fit_are_made_again_when_asked_for(folder: Path) -> None:
    _, bundle = prepare(folder, version="1.6.0")
    image = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
    with _compiler() as asked:
        model = hcflow.load(bundle, backend="tensorrt-rtx", compile_engines=True)
        assert asked == [("tensorrt-rtx", (d,), ("fp32",)) for d in ("inverse", "forward")]
        assert np.array_equal(model.upscale(image), hcflow.load(bundle).upscale(image))
    fine()


@scenario
def precision_auto_compiles_what_it_then_takes_on_this_gpu(folder: Path) -> None:
    graph = inverse_graph(True, 0.5)
    for backend in ("tensorrt-rtx", "auto"):
        bundle = write_bundle(folder / backend, directions=("inverse",))
        manifest = Bundle.open(bundle).manifest
        half = replace(
            manifest.graphs[0],
            precision="fp16",
            file="inverse.fp16.onnx",
            sha256=hashlib.sha256(graph).hexdigest(),
            bytes=len(graph),
        )
        (bundle / half.file).write_bytes(graph)
        options = {"backend": backend, "precision": "auto", "compile_engines": True}
        over = replace(manifest, graphs=(*manifest.graphs, replace(half, within_budget=False)))
        (bundle / "manifest.json").write_text(over.to_json())
        with _compiler() as asked, broken(compilers, "_installed", _rtx_alone):
            hcflow.load(bundle, **options)
            assert asked.pop()[2] == ("fp32",)
        both = replace(manifest, graphs=(*manifest.graphs, half))
        (bundle / "manifest.json").write_text(both.to_json())
        with _compiler(graph) as asked, broken(compilers, "_installed", _rtx_alone):
            model = hcflow.load(bundle, **options)
            assert [each[2] for each in asked] == [("fp16",)]
        assert model.network.precisions == ("fp16",)
        shutil.rmtree(cache.folder())


def _rtx_alone(library: str) -> bool:
    return library == "tensorrt-rtx"


@scenario
def an_engine_that_fits_is_not_made_again_nor_one_that_was_not_asked_for(folder: Path) -> None:
    _, bundle = prepare(folder)
    with _compiler() as asked:
        hcflow.load(bundle, backend="tensorrt-rtx", compile_engines=True)
        assert asked == [("tensorrt-rtx", ("forward",), ("fp32",))]  # which has none
        hcflow.load(bundle, backend="tensorrt-rtx")
        hcflow.load(bundle, backend="onnxruntime", compile_engines=True)
        assert len(asked) == 1
