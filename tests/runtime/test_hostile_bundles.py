"""Hostile files of a bundle, with matching digests, end in one error of ours on one line."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

import runtime
from runtime import BundleError, FileError, HcflowError
from runtime.bundle import onnx_outline, reader, test_vectors
from runtime.bundle.reader import Bundle
from runtime.convert.folders.resume import FILE_NAME, Finished
from runtime.system import machine
from tests.support import bundles
from tests.support.hostile_graphs import ESCAPE, endless, ends, inverse, model, single

DOT = np.zeros((4, 4, 3), np.uint8)


def _function() -> bytes:
    opset = [helper.make_opsetid("", 20)]
    node = helper.make_node("Identity", ["x"], ["y"])
    function = helper.make_function("own", "F", ["x"], ["y"], [node], opset)
    graph = helper.make_graph(
        [helper.make_node("F", ["lr"], ["hr"], domain="own")], "g", ends("lr"), ends("hr")
    )
    return model(graph, functions=[function])


def _without_input() -> bytes:
    value = helper.make_tensor("v", TensorProto.FLOAT, [1, 3, 16, 16], [0.5] * 768)
    node = helper.make_node("Constant", [], ["hr"], value=value)
    return model(helper.make_graph([node], "g", [], ends("hr")))


def _other_input() -> bytes:
    node = helper.make_node("Identity", ["other"], ["hr"])
    return model(helper.make_graph([node], "g", ends("other"), ends("hr")))


def _reshape() -> bytes:
    shape = helper.make_tensor("s" + ESCAPE, TensorProto.INT64, [2], [7, 5])
    return single(helper.make_node("Reshape", ["lr", "s" + ESCAPE], ["hr"], name=ESCAPE), s=shape)


def _text_output() -> bytes:
    node = helper.make_node("Cast", ["lr"], ["hr"], to=TensorProto.STRING)
    out = helper.make_tensor_value_info("hr", TensorProto.STRING, None)
    return model(helper.make_graph([node], "g", ends("lr"), [out]))


def _sequence_output() -> bytes:
    node = helper.make_node("SequenceConstruct", ["lr"], ["hr"])
    out = helper.make_tensor_sequence_value_info("hr", TensorProto.FLOAT, None)
    return model(helper.make_graph([node], "g", ends("lr"), [out]))


REFUSED = {
    "a loop that never ends": endless(),
    "functions": _function(),
    "no input": _without_input(),
    "another input": _other_input(),
    "an image of another size": single(helper.make_node("Identity", ["lr"], ["hr"])),
    "another output": model(
        helper.make_graph([helper.make_node("Neg", ["lr"], ["x"])], "g", ends("lr"), ends("x"))
    ),
    "text": _text_output(),
    "a sequence": _sequence_output(),
    "an escape in a node's name": _reshape(),
    "an escape in an operator's name": inverse(operator=f"Co{ESCAPE}nv", name=ESCAPE),
    "no graph": b"\x08\x0a",
    "another format": b'<?xml version="1.0"?><net name="n" version="11"><layers/></net>',
    "nothing but opening brackets": b"\x3a" * 10_000,
}


def _with_file(bundle: Path, name: str, data: bytes) -> Path:
    """A bundle whose manifest tells the digest of this graph or of these vectors."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    entry = manifest["vectors"]
    if name == "inverse":
        entry = next(g for g in manifest["graphs"] if g["direction"] == "inverse")
        entry["bytes"] = len(data)
    entry["sha256"] = hashlib.sha256(data).hexdigest()
    (bundle / entry["file"]).write_bytes(data)
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    return bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return bundles.write_bundle(tmp_path / "b", latents=False)


def _is_one_line(error: BaseException) -> bool:
    return str(error).isprintable()


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("graph", REFUSED.values(), ids=REFUSED.keys())
def test_a_hostile_graph_is_refused_on_one_line(
    bundle: Path,
    graph: bytes,
    backend: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip(backend)
    monkeypatch.setenv("HCFLOW_CACHE", str(tmp_path / "cache"))
    _with_file(bundle, "inverse", graph)
    with pytest.raises(HcflowError) as caught:
        runtime.load(bundle, backend=backend).upscale(DOT)
    assert _is_one_line(caught.value)
    assert capfd.readouterr() == ("", "")


SIDES = ["x*H", "0*H", "H", f"{ESCAPE}*H", "-1*H", "9" * 400 + "*H", "*H", "", "WW"]


@pytest.mark.parametrize("dimension", SIDES)
def test_names_of_dimensions_are_names_only(bundle: Path, dimension: str) -> None:
    expected = runtime.load(bundle).upscale(DOT)
    _with_file(bundle, "inverse", inverse(dimension))
    np.testing.assert_array_equal(runtime.load(bundle).upscale(DOT), expected)


def test_a_graph_of_endless_nodes_is_looked_at_up_to_a_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(onnx_outline, "MOST_PARTS", 100)
    nodes = b"\x0a\x00" * 1000
    with pytest.raises(BundleError, match="is not an ONNX model"):
        onnx_outline.check(b"\x3a" + bytes([0xD0, 0x0F]) + nodes, "g")


def test_a_fields_number_beyond_32_bits_hides_no_graph() -> None:
    for key, fault in ((b"\x32", "has control flow"), (b"\xb2\x80\x80\x80\x10", "is not an ONNX")):
        attribute = key + b"\x00"
        node = b"\x2a" + bytes([len(attribute)]) + attribute
        graph = b"\x0a" + bytes([len(node)]) + node
        with pytest.raises(BundleError, match=fault):
            onnx_outline.check(b"\x3a" + bytes([len(graph)]) + graph, "g")


def _npz(entries: dict[str, np.ndarray[Any, Any]]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **entries)  # type: ignore[arg-type]
    return buffer.getvalue()


def _lying_header() -> bytes:
    """An array that says it has 2⁵⁰ numbers."""
    npy = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        npy, {"descr": "<f4", "fortran_order": False, "shape": (1 << 50,)}
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("inverse/x/in/lr.npy", npy.getvalue())
    return buffer.getvalue()


def _many(count: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(count):
            archive.writestr(f"{number}", b"")
    return buffer.getvalue()


VECTORS = {
    "no archive": b"PK",
    "nothing": b"",
    "another key": _npz({"sideways/x/in/lr": np.zeros(1)}),
    "text": _npz({"inverse/x/in/lr": np.array(["x"])}),
    "complex τ": _npz({"inverse/x/tau": np.array(1j)}),
    "two τ": _npz({"inverse/x/tau": np.zeros(2)}),
    "a header that lies": _lying_header(),
    "many arrays": _many(reader.MOST_ARRAYS + 1),
}


@pytest.mark.parametrize("vectors", VECTORS.values(), ids=VECTORS.keys())
def test_hostile_test_vectors_are_refused(bundle: Path, vectors: bytes) -> None:
    _with_file(bundle, "vectors", vectors)
    with pytest.raises(BundleError) as caught:
        test_vectors.read(Bundle.open(bundle))
    assert _is_one_line(caught.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system without pipes")
@pytest.mark.parametrize("odd", ["pipe", "device", "sparse", "folder", "socket"])
@pytest.mark.parametrize("name", ["manifest.json", "inverse", "vectors"])
def test_a_bundle_that_holds_no_plain_files_is_refused_unread(
    bundle: Path, name: str, odd: str
) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    graph = next(g for g in manifest["graphs"] if g["direction"] == "inverse")
    graph["bytes"] = 40 << 30 if odd == "sparse" else graph["bytes"]
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    files = {"inverse": graph["file"], "vectors": manifest["vectors"]["file"]}
    put_in_place(bundle / files.get(name, name), odd)
    with pytest.raises(BundleError) as caught:
        _read(bundle, name)
    assert _is_one_line(caught.value)


def _read(bundle: Path, name: str) -> None:
    opened = Bundle.open(bundle)
    if name == "vectors":
        opened.read_vectors()
    else:
        opened.read_graph(opened.graph("inverse", "fp32", None))


def put_in_place(path: Path, odd: str) -> None:
    """Something that is no plain file of a sensible size, where a file was."""
    path.unlink(missing_ok=True)
    if odd == "pipe":
        os.mkfifo(path)
    elif odd == "device":
        path.symlink_to("/dev/zero")
    elif odd == "folder":
        path.mkdir()
    elif odd == "socket":
        os.mknod(path, 0o140600)
    else:
        with path.open("wb") as file:
            file.truncate(40 << 30)


def test_a_file_larger_than_the_memory_is_refused(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Bundle.open(bundle)
    monkeypatch.setattr(machine, "available_memory", lambda: 100)
    with pytest.raises(BundleError, match="bytes, and 100 are free"):
        opened.read_graph(opened.graph("inverse", "fp32", None))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system without pipes")
@pytest.mark.parametrize("odd", ["pipe", "device", "sparse", "folder"])
def test_a_list_of_results_that_is_no_file_is_refused_unread(tmp_path: Path, odd: str) -> None:
    put_in_place(tmp_path / FILE_NAME, odd)
    with pytest.raises(FileError, match="remove it to start over"):
        Finished(str(tmp_path), {})


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system without pipes")
@pytest.mark.parametrize("odd", ["pipe", "device", "sparse", "folder", "open to others"])
def test_a_cached_program_that_is_no_file_of_ours_is_made_again(
    bundle: Path, odd: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setenv("HCFLOW_CACHE", str(tmp_path / "cache"))
    expected = runtime.load(bundle, backend="openvino").upscale(DOT)
    blobs = list((tmp_path / "cache" / "openvino").iterdir())
    assert blobs
    for blob in blobs:
        if odd == "open to others":
            blob.chmod(0o666)
        else:
            put_in_place(blob, odd)
    made = runtime.load(bundle, backend="openvino").upscale(DOT)
    np.testing.assert_array_equal(made, expected)
