"""A shipped model becomes INT8 when that is asked for, or is what `auto` would take; once."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import pytest

import hcflow
from export import pipeline
from export.errors import ExportError
from hcflow.models import shipped
from runtime import Bundle, BundleError, ParameterError
from runtime.backends import auto
from runtime.bundle.manifest import DIRECTIONS
from runtime.system import machine
from tests.support.bundles import write_bundle

VNNI = frozenset({"avx2", "avx512_vnni"})


@pytest.fixture
def default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The default model's folder in a cache of its own, with small graphs in fp32 in it."""
    monkeypatch.setenv("HCFLOW_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(shipped, "_build", lambda weights, folder: write_bundle(folder))
    return shipped.resolve()


@pytest.fixture
def built(default: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Requests of builds, each of which adds INT8 graphs."""
    requests: list[Any] = []

    def build(checkpoint: Any, folder: Path, request: Any) -> None:
        requests.append(request)
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["graphs"] += [graph | {"precision": "int8"} for graph in manifest["graphs"]]
        (folder / "manifest.json").write_text(json.dumps(manifest))

    monkeypatch.setattr(pipeline, "build", build)
    return requests


def on(monkeypatch: pytest.MonkeyPatch, backend: str, flags: frozenset[str]) -> None:
    monkeypatch.setattr(auto, "name", lambda _: backend)
    monkeypatch.setattr(machine, "cpu_flags", lambda: flags)


def test_int8_is_built_once_from_the_shipped_calibration(built: list[Any]) -> None:
    hcflow.load()
    assert not built
    for _ in range(2):
        assert hcflow.load(precision="int8").network.precisions == ("int8",)
    (request,) = built
    assert set(request.cached_calibrations) == set(DIRECTIONS)


def test_auto_builds_int8_where_it_would_take_it(
    built: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for backend, flags in (("openvino", frozenset({"avx2"})), ("onnxruntime", VNNI)):
        on(monkeypatch, backend, flags)
        assert hcflow.load(precision="auto").network.precisions == ("fp32",)
    assert not built
    on(monkeypatch, "openvino", VNNI)
    assert hcflow.load(precision="auto").network.precisions == ("int8", "fp32")
    assert len(built) == 1


def test_options_are_judged_before_anything_is_built(built: list[Any]) -> None:
    for wrong in ({"backend": "typo"}, {"threads": 0}, {"io": "bits"}):
        with pytest.raises(ParameterError):
            hcflow.load(precision="int8", **wrong)
    assert not built


def test_where_int8_cannot_be_built_auto_goes_on_in_fp32_and_int8_says_why(
    default: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    on(monkeypatch, "openvino", VNNI)

    def build(*_: Any) -> None:
        raise ExportError("no graph today")

    monkeypatch.setattr(pipeline, "build", build)
    with caplog.at_level(logging.WARNING):
        assert hcflow.load(precision="auto").network.precisions == ("fp32",)
    assert "no graph today; going on in fp32" in caplog.text
    with pytest.raises(ExportError, match="no graph today"):
        hcflow.load(precision="int8")
    monkeypatch.setitem(sys.modules, "export.pipeline", None)
    with pytest.raises(BundleError, match="is not built in INT8 on this machine yet"):
        hcflow.load(precision="int8")


@pytest.mark.parametrize("folder", ["mine", "cache/bundles/mine", "cache/bundles/a-b-c"])
def test_a_bundle_of_ones_own_is_left_as_it_is(
    built: list[Any], tmp_path: Path, folder: str
) -> None:
    mine = write_bundle(tmp_path / folder)
    model = hcflow.load(mine, precision="int8")
    with pytest.raises(BundleError, match="not in int8"):
        model.network.graph("inverse", None)
    assert not built


@pytest.mark.slow
def test_the_shipped_calibration_gives_the_int8_that_it_is_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hcflow_ref.checkpoint.shipped import calibrations  # noqa: PLC0415

    monkeypatch.setenv("HCFLOW_CACHE", str(tmp_path))
    model = hcflow.load(precision="int8")
    files = {graph.file for graph in model.manifest.graphs if graph.precision == "int8"}
    recorded = [json.loads(path.read_text()) for path in calibrations("rescale_x4")]
    assert files == {record["graph"] for record in recorded}
    assert all(graph.within_budget for graph in Bundle.open(shipped.resolve()).manifest.graphs)
