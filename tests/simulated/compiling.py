"""Engines made when they are asked for and missing; the compiler itself is a stand-in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import hcflow
from export.engine import bundle_engines
from runtime.bundle import engine_cache
from runtime.bundle.reader import Bundle
from tests.simulated.rig import fine, plan, prepare, ranges, scenario, sidecar
from tests.support.bundles import inverse_graph


@contextmanager
def _compiler() -> Iterator[list[Any]]:
    """Stands in for `compile_bundle`: notes what is asked for, and makes the inverse's engine."""
    asked: list[Any] = []

    def compile_bundle(_: Bundle, options: Any, **which: Any) -> list[Any]:
        asked.append((options.library, which["directions"]))
        if which["directions"] == ("inverse",):
            data = plan(inverse_graph(True))
            made = sidecar(inverse_graph(True), data, file="made.engine")
            made = replace(
                made, file=f"{made.graph[:12]}.made.engine", profiles=(ranges(8, 1),) * 2
            )
            engine_cache.write(made, data)
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
        assert asked == [("tensorrt-rtx", ("inverse",)), ("tensorrt-rtx", ("forward",))]
        assert np.array_equal(model.upscale(image), hcflow.load(bundle).upscale(image))
    fine()


@scenario
def an_engine_that_fits_is_not_made_again_nor_one_that_was_not_asked_for(folder: Path) -> None:
    _, bundle = prepare(folder)
    with _compiler() as asked:
        hcflow.load(bundle, backend="tensorrt-rtx", compile_engines=True)
        assert asked == [("tensorrt-rtx", ("forward",))]  # which has none
        hcflow.load(bundle, backend="tensorrt-rtx")
        hcflow.load(bundle, backend="onnxruntime", compile_engines=True)
        assert len(asked) == 1
