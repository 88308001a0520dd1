"""A tile whose result is not an image falls back to fp32, and then to τ = 0."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import runtime
from runtime import Model
from runtime.inference.report import Report
from tests.support.bundles import write_bundle
from tests.support.noise import noise


def overflowing(folder: Path, threshold: float, *, tau_only: bool = False) -> Model:
    """A bundle whose fp16 inverse gives infinity for a tile with a pixel above a threshold."""
    model = runtime.load(
        write_bundle(folder, tile=4, overlap=1, directions=["inverse"]), precision="fp32"
    )
    manifest = model.manifest
    (graph,) = manifest.graphs
    half = replace(graph, precision="fp16", file="inverse.fp16.test.onnx")
    (folder / half.file).write_bytes((folder / graph.file).read_bytes())
    changed = replace(manifest, graphs=(graph, half))
    (folder / "manifest.json").write_text(changed.to_json(), encoding="utf-8")
    model = runtime.load(folder, precision="fp16")
    network, run = model.network, model.network.run

    def spoiled(graph: Any, feeds: Any) -> Any:
        outputs = run(graph, feeds)
        if graph.precision == "fp16" and feeds["lr"].max() > threshold:
            outputs["hr"] = outputs["hr"] * np.float32(np.inf)
        if tau_only and np.any(feeds["z1"]):
            outputs["hr"] = outputs["hr"] * np.float32(np.nan)
        return outputs

    network.run = spoiled  # type: ignore[method-assign]
    return model


def test_a_tile_that_overflows_is_computed_again_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = overflowing(tmp_path / "b", 0.9)
    image = np.full((18, 18, 3), 100, np.uint8)
    image[6, 6] = 255
    report = Report()
    found = model.upscale(image, tau=0.3, report=report)
    np.testing.assert_array_equal(
        found, runtime.load(tmp_path / "b", precision="fp32").upscale(image, tau=0.3)
    )
    assert [(tile.row, tile.column, tile.how) for tile in report.fallbacks] == [(1, 1, "fp32")]
    assert report.tiles == 16
    assert "1 of 16 tiles went wrong and were computed again in fp32" in caplog.text


def test_a_tile_that_fails_with_its_latents_is_computed_at_tau_zero(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = overflowing(tmp_path / "b", 0.9, tau_only=True)
    image = noise(6, 6)
    with caplog.at_level(logging.WARNING):
        calm = model.upscale(image, tau=0.3)
    np.testing.assert_array_equal(calm, model.upscale(image, tau=0.0))
    assert "fails with its latents even in fp32: computed at τ = 0" in caplog.text


def test_a_fallback_that_cannot_run_tells_what_was_wrong_with_the_tile(tmp_path: Path) -> None:
    model = overflowing(tmp_path / "b", 0.9)
    run = model.network.run

    def half_alone(graph: Any, feeds: Any) -> Any:
        if graph.precision == "fp32":
            raise runtime.GpuMemoryError("there is no engine of this graph here")
        return run(graph, feeds)

    model.network.run = half_alone  # type: ignore[method-assign]
    image = np.full((18, 18, 3), 100, np.uint8)
    image[6, 6] = 255
    text = (
        r"'inverse.fp16.test.onnx' gave NaN or infinity in 'hr' on tile 1,1 .*, and it cannot be "
        "computed in fp32: there is no engine of this graph here"
    )
    with pytest.raises(runtime.GpuMemoryError, match=text):
        model.upscale(image, tau=0.3)


def test_saturation_counts_below_fp32_only(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "b", gain=1e6, directions=["inverse"])
    report = Report()
    runtime.load(folder).upscale(noise(4, 4), report=report)
    assert report.fallbacks == []
    text = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(text.replace('"fp32"', '"fp16"', 1))
    with pytest.raises(runtime.BackendError, match=r"in 'hr' on tile 0,0"):
        runtime.load(folder, precision="fp16").upscale(noise(4, 4))
