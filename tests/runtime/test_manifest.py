"""Manifests and bundles: what is wrong is named, what is damaged is refused."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import re
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest

import runtime
from runtime import Bundle, BundleError
from runtime.bundle import test_vectors
from runtime.bundle.manifest import Deviation, Loss, Manifest, RecordedGrid, Seam
from tests.support.bundles import write_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "tiny")


def _manifest(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return content


def test_a_manifest_survives_json(bundle: Path) -> None:
    manifest = runtime.Bundle.open(bundle).manifest
    assert Manifest.from_json(manifest.to_json(), "here") == manifest


def test_unknown_keys_are_ignored(bundle: Path) -> None:
    content = _manifest(bundle)
    content["colour"] = content["graphs"][0]["colour"] = "blue"
    assert Manifest.from_json(json.dumps(content), "here") == runtime.Bundle.open(bundle).manifest


def test_figures_json_cannot_hold_become_null(bundle: Path) -> None:
    manifest = runtime.Bundle.open(bundle).manifest
    graph = manifest.graphs[0]
    parity = replace(graph.parity[0], psnr_db=float("inf"), max_abs=float("nan"))
    text = replace(manifest, graphs=(replace(graph, parity=(parity,)),)).to_json()
    read = Manifest.from_json(text, "here").graphs[0].parity[0]
    assert (read.psnr_db, read.max_abs) == (None, None)


def _set(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        *parents, last = [int(k) if k.isdigit() else k for k in path.split(".")]
        node: Any = content
        for key in parents:
            node = node[key]
        node[last] = value

    return change


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("schema", 3, "made by a newer hcflow-deploy (schema 3, this one reads 2): upgrade"),
        ("schema", "1", "$.schema is '1'; it must be an integer, 1 or more"),
        ("schema", True, "$.schema is True; it must be an integer"),
        ("task", "denoise", "$.task is 'denoise'; it must be one of rescaling, sr"),
        ("scale", 1, "$.scale is 1; it must be an integer, 2 or more"),
        ("scale", 8, "$.latents.levels hold 45 values per LR pixel; scale 8 needs 189"),
        ("default_tau", -1, "$.default_tau is -1; it must be a number, 0 or more"),
        ("latents.levels.1.factor", 0, "$.latents.levels[1].factor is 0"),
        ("checkpoint.sha256", "abc", "$.checkpoint.sha256 is 'abc'; it must be a SHA-256"),
        ("tools", ["onnx"], "$.tools is ['onnx']; it must be an object"),
        ("graphs", None, "$.graphs is None; it must be an array"),
        ("graphs", [], "$.graphs is empty: build the bundle again"),
        ("graphs.0.io", "\x1b[31m", "$.graphs[0].io is '\\x1b[31m'; it must be a plain word"),
        ("graphs.0.io", "[red]", "$.graphs[0].io is '[red]'; it must be a plain word"),
        ("latents.scheme", "\x1b[31m", "$.latents.scheme is '\\x1b[31m'; it must be a plain word"),
        ("graphs.0.file", "../evil.onnx", "$.graphs[0].file is '../evil.onnx'; it must be a plain"),
        ("graphs.0.file", "/etc/passwd", "$.graphs[0].file"),
        ("graphs.0.file", "a\\b", "$.graphs[0].file"),
        ("graphs.0.file", "..", "$.graphs[0].file"),
        ("graphs.0.precision", "fp64", "$.graphs[0].precision is 'fp64'; it must be one of fp32"),
        ("graphs.0.numerics.tf32", 0, "$.graphs[0].numerics.tf32 is 0; it must be true or false"),
        ("graphs.0.parity.0.psnr_db", "good", "$.graphs[0].parity[0].psnr_db is 'good'"),
        ("vectors.file", "a/b.npz", "$.vectors.file is 'a/b.npz'"),
        ("scale", 65, "$.scale is 65; it must be an integer, 64 or less"),
        ("default_tau", 10**400, "$.default_tau is 1000"),
        ("graphs.0.parity.0.psnr_db", -(10**400), "$.graphs[0].parity[0].psnr_db is -1000"),
        ("graphs.0.bytes_per_lr_pixel", 10**400, "it must be an integer, 9007199254740992 or less"),
        ("graphs.0.tile", 10**30, "it must be an integer, 9007199254740992 or less"),
        ("name", "a\x9b31mred", "it must be a name without slashes"),
        ("tools.onnx", "\ud800", "$.tools.onnx is '\\ud800'; it must be a string"),
    ],
)
def test_what_is_wrong_in_a_manifest_is_named(
    bundle: Path, path: str, value: Any, message: str
) -> None:
    content = _manifest(bundle)
    _set(path, value)(content)
    with pytest.raises(BundleError, match=re.escape(message)):
        Manifest.from_json(json.dumps(content), "'manifest.json'")


@pytest.mark.parametrize("key", ["schema", "name", "scale", "latents", "graphs", "vectors"])
def test_a_missing_key_is_named(bundle: Path, key: str) -> None:
    content = _manifest(bundle)
    del content[key]
    with pytest.raises(BundleError, match=re.escape(f"$.{key} is missing")):
        Manifest.from_json(json.dumps(content), "here")


@pytest.mark.parametrize("text", ["", "[1", "\x00", '{"schema": NaN}', "[" * 100_000, '"text"'])
def test_text_that_is_not_a_manifest_is_refused(text: str) -> None:
    with pytest.raises(BundleError, match="here"):
        Manifest.from_json(text, "here")


def test_a_bundle_opens_by_folder_and_by_manifest(bundle: Path) -> None:
    assert runtime.load(bundle).scale == 4
    assert runtime.load(str(bundle / "manifest.json")).manifest.name == "tiny_x4"


def test_a_path_that_is_not_a_bundle_is_refused_with_the_reason(
    tmp_path: Path, bundle: Path
) -> None:
    with pytest.raises(BundleError, match="the folder does not exist"):
        runtime.load(tmp_path / "nowhere")
    with pytest.raises(BundleError, match=re.escape("it has no manifest.json")):
        runtime.load(tmp_path)
    file = next(bundle.glob("*.onnx"))
    with pytest.raises(BundleError, match="is a file: give the bundle's folder"):
        runtime.load(file)
    (bundle / "manifest.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BundleError, match="is not a manifest"):
        runtime.load(bundle)


def test_altered_truncated_and_missing_files_are_refused_when_used(bundle: Path) -> None:
    opened = runtime.Bundle.open(bundle)
    graph = opened.graph("inverse", "fp32", True)
    path = bundle / graph.file
    good = path.read_bytes()
    assert opened.read_graph(graph) == good
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(BundleError, match="does not have the SHA-256 in the manifest"):
        opened.read_graph(graph)
    path.write_bytes(good[:-10])
    with pytest.raises(BundleError, match="incomplete; fetch or build the bundle again"):
        opened.read_graph(graph)
    path.unlink()
    with pytest.raises(BundleError, match="is missing"):
        opened.read_graph(graph)


def test_a_link_out_of_the_bundle_is_refused(tmp_path: Path, bundle: Path) -> None:
    opened = runtime.Bundle.open(bundle)
    graph = opened.graph("inverse", "fp32", True)
    outside = tmp_path / "outside.onnx"
    (bundle / graph.file).rename(outside)
    (bundle / graph.file).symlink_to(outside)
    with pytest.raises(BundleError, match="a link that leaves the bundle"):
        opened.read_graph(graph)


def test_a_graph_with_weights_elsewhere_is_refused(bundle: Path) -> None:
    content = _manifest(bundle)
    entry = content["graphs"][0]
    graph = onnx.load(bundle / entry["file"])
    onnx.external_data_helper.convert_model_to_external_data(
        graph, location="weights.bin", size_threshold=0
    )
    onnx.save(graph, bundle / entry["file"])
    data = (bundle / entry["file"]).read_bytes()
    entry |= {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    (bundle / "manifest.json").write_text(json.dumps(content), encoding="utf-8")
    opened = runtime.Bundle.open(bundle)
    with pytest.raises(BundleError, match="takes weights from outside itself"):
        opened.read_graph(opened.manifest.graphs[0])


def test_what_a_bundle_lacks_is_named(tmp_path: Path) -> None:
    opened = runtime.Bundle.open(write_bundle(tmp_path / "up", directions=["inverse"]))
    with pytest.raises(BundleError, match="no forward graph: build it with --direction forward"):
        opened.graph("forward", "fp32", None)
    with pytest.raises(BundleError, match="its inverse graph in fp32, not in fp16"):
        opened.graph("inverse", "fp16", None)


def test_a_newer_graph_contract_asks_for_an_upgrade(tmp_path: Path) -> None:
    opened = runtime.Bundle.open(write_bundle(tmp_path / "new", contract=2))
    with pytest.raises(BundleError, match=r"contract 2 .* upgrade hcflow-deploy"):
        opened.graph("inverse", "fp32", None)


@pytest.mark.parametrize("kind", ["a pipe", "a device", "endless"])
def test_a_manifest_is_a_file_of_some_size(bundle: Path, kind: str) -> None:
    path = bundle / "manifest.json"
    if kind == "endless":
        os.truncate(path, 1 << 40)
    else:
        path.unlink()
        os.mkfifo(path) if kind == "a pipe" else path.symlink_to("/dev/zero")
    with pytest.raises(BundleError, match="is not a manifest: it is not a file of at most 4 MiB"):
        runtime.Bundle.open(bundle)


@pytest.mark.parametrize("kind", ["pipe", "folder", "a link to itself"])
def test_what_is_not_a_file_is_refused_and_not_waited_for(bundle: Path, kind: str) -> None:
    opened = runtime.Bundle.open(bundle)
    graph = opened.graph("inverse", "fp32", True)
    path = bundle / graph.file
    path.unlink()
    {"pipe": os.mkfifo, "folder": os.mkdir}.get(kind, lambda p: p.symlink_to(p.name))(path)
    with pytest.raises(BundleError, match=r"is not a file|Too many levels of symbolic links"):
        opened.read_graph(graph)


def _vectors(header: bytes, data: bytes = b"", name: str = "inverse/a/in/lr.npy") -> bytes:
    """An .npz by hand, for arrays that NumPy would not write."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        start = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little")
        archive.writestr(name, start + header + data)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            _vectors(b"{'descr':'<f4','fortran_order':False,'shape':(%d,)}" % 10**13),
            "does not contain",
        ),
        (
            _vectors(b"{'descr':'|u1','fortran_order':False,'shape':(9,)}", bytes(2000)),
            "unpacks to",
        ),
        (
            _vectors(b"{'descr':'<U1','fortran_order':False,'shape':(1,)}", b"a\0\0\0"),
            "are not numbers",
        ),
        (b"no archive", "does not contain test vectors"),
    ],
)
def test_hostile_test_vectors_are_one_line_and_little_memory(
    bundle: Path, data: bytes, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.bundle.reader.MOST_VECTORS", 1000)
    content = _manifest(bundle)
    content["vectors"] = {"file": "v.npz", "sha256": hashlib.sha256(data).hexdigest()}
    (bundle / "v.npz").write_bytes(data)
    (bundle / "manifest.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(BundleError, match=message):
        test_vectors.read(runtime.Bundle.open(bundle))


def test_figures_that_are_not_finite_are_null_and_meet_no_budget(tmp_path: Path) -> None:
    bad = Loss("cat", 1.0, -math.inf, math.inf, math.nan)
    folder = write_bundle(
        tmp_path / "b",
        losses=(bad,),
        tile=16,
        overlap=8,
        deviations=(Deviation("cat", 1.0, math.nan),),
    )
    graph = Bundle.open(folder).manifest.graphs[0]
    assert graph.losses == (Loss("cat", 1.0, None, math.inf, None),)
    assert graph.deviations == (Deviation("cat", 1.0, math.inf),)


def test_grids_and_their_figures_are_written_and_read(tmp_path: Path) -> None:
    grids = (RecordedGrid(64, 4), RecordedGrid(32, 6))
    seam = Seam("noise", 1.0, "jump", -0.01, 0.02, 0.5)
    loss = Loss("cat", 0.0, 48.0, 0.01, 0.1)
    facts = {"grids": grids, "seams": (seam,), "tiled_losses": (loss,), "neighbours": 0.01}
    folder = write_bundle(tmp_path / "b", tile=64, overlap=4, **facts)
    graph = Bundle.open(folder).manifest.graphs[0]
    assert {key: getattr(graph, key) for key in facts} == facts
    assert graph.recorded_grids == grids


def test_a_manifest_without_recorded_grids_has_its_one_grid(tmp_path: Path) -> None:
    for place, options in (("one", {"tile": 64, "overlap": 4}), ("none", {})):
        folder = write_bundle(tmp_path / place, **options)
        content = _manifest(folder)
        for graph in content["graphs"]:
            for key in ("grids", "seams", "tiled_losses", "neighbours"):
                del graph[key]
        (folder / "manifest.json").write_text(json.dumps(content), encoding="utf-8")
        graph = Bundle.open(folder).manifest.graphs[0]
        assert graph.recorded_grids == ((RecordedGrid(64, 4),) if options else ())
        assert graph.window_classes == ((72,) if options else ())


@pytest.mark.parametrize(
    "grids",
    [[(32, 6), (64, 4)], [(64, 5)], [(64, 4), (64, 4)], [(64, 4), (80, 4)]],
    ids=["rising", "another overlap", "twice", "larger"],
)
def test_recorded_grids_begin_with_the_graphs_own_and_get_smaller(
    bundle: Path, grids: list[tuple[int, int]]
) -> None:
    content = _manifest(bundle)
    rows = [{"tile": tile, "overlap": overlap} for tile, overlap in grids]
    content["graphs"][0] |= {"tile": 64, "overlap": 4, "grids": rows}
    (bundle / "manifest.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(BundleError, match=r"grids is .* the graph's tile and overlap, then"):
        runtime.Bundle.open(bundle)
