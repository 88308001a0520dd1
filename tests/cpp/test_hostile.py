"""Hostile graphs and caches end hcflow-cpp with one line of ours, at once and without escapes."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper
from PIL import Image

from tests.support import bundles, cpp_library
from tests.support.hostile_graphs import ESCAPE, endless, inverse, model

pytestmark = cpp_library.MARKS


def _without_image() -> bytes:
    value = helper.make_tensor("hr", TensorProto.FLOAT, [1, 3, 4, 4], [0.5] * 48)
    out = helper.make_tensor_value_info("hr", TensorProto.FLOAT, [1, 3, 4, 4])
    node = helper.make_node("Constant", [], ["hr"], value=value)
    return model(helper.make_graph([node], "none", [], [out]))


GRAPHS = {
    "a loop that never ends": endless(),
    "no image input": _without_image(),
    "no graph": b"\x08\x0a",
    "another format": b'<?xml version="1.0"?><net name="n" version="11"><layers/></net>',
    "an unknown operator with an escape": inverse(operator=f"Co{ESCAPE}nv", name=ESCAPE),
}


def _with_inverse(folder: Path, graph: bytes) -> Path:
    """A bundle whose manifest tells the size and the digest of this graph."""
    bundle = bundles.write_bundle(folder, latents=False)
    manifest = json.loads((bundle / "manifest.json").read_text())
    entry = next(g for g in manifest["graphs"] if g["direction"] == "inverse")
    entry |= {"sha256": hashlib.sha256(graph).hexdigest(), "bytes": len(graph)}
    (bundle / entry["file"]).write_bytes(graph)
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    return bundle


def _upscale(
    installed: Path, bundle: Path, folder: Path, *options: str
) -> subprocess.CompletedProcess[str]:
    Image.fromarray(np.zeros((5, 7, 3), np.uint8)).save(folder / "in.png")
    return subprocess.run(
        [installed / "bin" / "hcflow-cpp", "--bundle", bundle, *options, "in.png", "out.png"],
        capture_output=True, text=True, check=False, cwd=folder, timeout=300,
        env={**os.environ, "HCFLOW_CACHE": str(folder / "cache")},
    )  # fmt: skip


@pytest.mark.parametrize("kind", GRAPHS)
def test_a_hostile_graph_is_refused_on_one_line(installed: Path, tmp_path: Path, kind: str) -> None:
    done = _upscale(installed, _with_inverse(tmp_path / "b", GRAPHS[kind]), tmp_path, "--no-cache")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("hcflow-cpp: ")
    assert done.stderr.count("\n") == 1
    assert done.stderr.removesuffix("\n").isprintable()
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize("dimension", ["x*H", "0*H", "H", f"{ESCAPE}*H", "-1*H", "9" * 400 + "*H"])
def test_names_of_dimensions_are_names_only(
    installed: Path, tmp_path: Path, dimension: str
) -> None:
    bundle = _with_inverse(tmp_path / "b", inverse(dimension=dimension))
    done = _upscale(installed, bundle, tmp_path, "--no-cache")
    assert done.returncode == 0, done.stderr
    assert Image.open(tmp_path / "out.png").size == (28, 20)


def test_a_name_with_an_escape_does_not_reach_the_terminal(installed: Path, tmp_path: Path) -> None:
    bundle = bundles.write_bundle(tmp_path / "b")
    for options in (
        ["--bundle", ESCAPE],
        ["--backend", ESCAPE],
        ["--tau", ESCAPE],
        [f"--{ESCAPE}"],
    ):
        done = _upscale(installed, bundle, tmp_path, *options)
        assert done.returncode == 1
        assert r"\x1b]0;owned\x07" in done.stderr
        assert done.stderr.removesuffix("\n").isprintable()


@pytest.mark.parametrize("odd", ["pipe", "device", "sparse"])
def test_a_cache_that_holds_no_plain_files_is_passed_over(
    installed: Path, tmp_path: Path, odd: str
) -> None:
    bundle = bundles.write_bundle(tmp_path / "b")
    assert _upscale(installed, bundle, tmp_path).returncode == 0
    expected = (tmp_path / "out.png").read_bytes()
    blobs = list((tmp_path / "cache" / "openvino").iterdir())
    assert blobs
    for blob in blobs:
        blob.unlink()
        if odd == "pipe":
            os.mkfifo(blob)
        elif odd == "device":
            blob.symlink_to("/dev/zero")
        else:
            with blob.open("wb") as file:
                file.truncate(40 << 30)
    done = _upscale(installed, bundle, tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.png").read_bytes() == expected
