"""Graphs of later schemas: older runtimes skip them, and so does this one what it does not know."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import runtime
from runtime import BackendError, Bundle, BundleError
from runtime.backends import open_graph, targets_of
from runtime.bundle.engines.entry import of_manifest, of_unknown_graphs
from runtime.bundle.graph_kinds import preferred
from runtime.bundle.manifest import Manifest
from runtime.checks.verify import graphs_for
from tests.support import schema_one
from tests.support.bundles import write_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """Both directions in fp32 and, for TensorRT-RTX alone, in fp16 of its own form and in fp8."""
    folder = write_bundle(tmp_path / "b")
    manifest = Bundle.open(folder).manifest
    fp16 = tuple(replace(g, precision="fp16") for g in manifest.graphs)
    own = tuple(replace(g, file=f"rtx.{g.file}", target="rtx") for g in fp16)
    fp8 = tuple(replace(g, precision="fp8", file=f"8.{g.file}") for g in own)
    for graph, data in zip((*own, *fp8), 2 * _files(folder, manifest), strict=True):
        (folder / graph.file).write_bytes(data)
    changed = replace(manifest, graphs=(*manifest.graphs, *fp16, *own, *fp8))
    return _written(folder, changed.to_json())


def _files(folder: Path, manifest: Manifest) -> list[bytes]:
    return [(folder / graph.file).read_bytes() for graph in manifest.graphs]


def _written(folder: Path, text: str) -> Bundle:
    (folder / "manifest.json").write_text(text, encoding="utf-8")
    return Bundle.open(folder)


def _with_another(bundle: Bundle, **changes: Any) -> Bundle:
    """The bundle with one more graph among those that schema 1 does not know."""
    content = json.loads(bundle.manifest.to_json())
    content["more_graphs"].append(content["more_graphs"][0] | changes)
    return _written(bundle.folder, json.dumps(content))


def test_a_runtime_of_schema_1_reads_the_bundle_and_skips_what_it_does_not_know(
    bundle: Bundle,
) -> None:
    seen = schema_one.graphs(bundle.manifest.to_json())
    plain = [g for g in bundle.manifest.graphs if g.target is None]
    assert [(g.direction, g.precision, g.file) for g in plain] == [
        (g.direction, g.precision, g.file) for g in seen
    ]


def test_a_runtime_of_schema_1_skips_the_engines_of_such_graphs(bundle: Bundle) -> None:
    old, new = {"precision": "fp16", "graph": "a"}, {"precision": "fp8", "graph": "b"}
    manifest = replace(bundle.manifest, engines=(new, old))
    content = json.loads(manifest.to_json())
    assert (content["engines"], content["more_engines"]) == ([old], [new])
    assert schema_one.graphs(manifest.to_json())


def test_a_bundle_of_older_kinds_alone_is_written_as_before(tmp_path: Path) -> None:
    text = Bundle.open(write_bundle(tmp_path / "b")).manifest.to_json()
    assert not re.search("target|schema_written|more_|unknown", text)


def test_graphs_of_later_schemas_survive_json(bundle: Bundle) -> None:
    text = bundle.manifest.to_json()
    assert Manifest.from_json(text, "here") == bundle.manifest
    assert json.loads(text)["schema_written"] == 2


@pytest.mark.parametrize("changes", [{"precision": "fp4"}, {"target": "npu"}])
def test_a_graph_of_an_unknown_kind_is_skipped_and_kept(
    bundle: Bundle, changes: dict[str, Any]
) -> None:
    later = _with_another(bundle, **changes, opset="a later word").manifest
    assert later.graphs == bundle.manifest.graphs
    assert [unknown.title for unknown in later.unknown] == [
        "inverse fp4 for rtx" if "precision" in changes else "inverse fp16 for npu"
    ]
    assert Manifest.from_json(later.to_json(), "here") == later
    assert schema_one.graphs(later.to_json())


@pytest.mark.parametrize("kind", ["\x1b[31m", 4, None])
def test_an_unknown_kind_is_a_plain_word(bundle: Bundle, kind: Any) -> None:
    with pytest.raises(BundleError, match=re.escape("$.more_graphs[4].precision is")):
        _with_another(bundle, precision=kind)


def test_a_known_graph_among_the_later_ones_is_checked_as_any_other(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match=re.escape("$.more_graphs[4].bytes is 0")):
        _with_another(bundle, bytes=0)


def test_engines_of_unknown_graphs_are_skipped_and_kept(bundle: Bundle) -> None:
    manifest = replace(bundle.manifest, engines=({"precision": "fp4", "anything": 1},))
    assert of_manifest(manifest, "here") == []
    assert of_unknown_graphs(manifest) == list(manifest.engines)


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime", "onnxruntime-cuda", "auto"])
def test_no_other_backend_is_given_a_graph_for_tensorrt_rtx(bundle: Bundle, backend: str) -> None:
    assert {graph.target for graph in graphs_for(bundle, backend)} == {None}
    assert bundle.graph("inverse", "fp16", None, targets=targets_of(backend)).target is None
    with pytest.raises(BundleError, match="inverse fp8 graph for rtx alone: use --backend"):
        bundle.graph("inverse", "fp8", None, targets=targets_of(backend))


def test_a_cpu_refuses_to_open_a_graph_for_tensorrt_rtx(bundle: Bundle) -> None:
    fp8 = next(g for g in bundle.manifest.graphs if g.precision == "fp8")
    with pytest.raises(BackendError, match="made for rtx, which ONNX Runtime is not"):
        open_graph("onnxruntime", bundle, fp8, 1)


def test_tensorrt_rtx_takes_the_graphs_that_were_made_for_it(bundle: Bundle) -> None:
    rtx, other = targets_of("tensorrt-rtx"), targets_of("tensorrt")
    assert bundle.graph("inverse", "fp16", None, targets=rtx).target == "rtx"
    assert bundle.graph("inverse", "fp32", None, targets=rtx).target is None
    assert bundle.graph("inverse", "fp16", None, targets=other).target is None
    assert bundle.graph("inverse", "fp8", None, targets=other).target == "rtx"
    taken = preferred(bundle.manifest.graphs, rtx)
    assert [(g.precision, g.target) for g in taken if g.direction == "inverse"] == [
        ("fp32", None),
        ("fp16", "rtx"),
        ("fp8", "rtx"),
    ]


def test_fp8_is_refused_in_words_where_the_bundle_has_none(tmp_path: Path) -> None:
    model = runtime.load(write_bundle(tmp_path / "b"), precision="fp8")
    with pytest.raises(BundleError, match="in fp32, not in fp8"):
        model.network.graph("inverse", None)
