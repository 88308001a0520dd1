"""A build keeps the graphs and engines of a bundle that it does not know."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from export import bundle_writer
from export.engine.bundle_engines import add_to_bundle
from hcflow_ref.checkpoint.load import load
from runtime import Bundle
from tests.support.bundles import write_bundle
from tests.support.golden_files import weights


def test_graphs_and_engines_of_unknown_kinds_stay_with_their_files(tmp_path: Path) -> None:
    checkpoint = load(weights("rescale_x4"))
    folder = write_bundle(tmp_path / "b")
    manifest = Bundle.open(folder).manifest
    same = replace(manifest, checkpoint=replace(manifest.checkpoint, sha256=checkpoint.sha256))
    content = json.loads(same.to_json())
    later = {"precision": "fp4", "target": "npu", "direction": "inverse", "file": "later.onnx"}
    engine = {"precision": "fp4", "file": "later.engine"}
    content |= {"more_graphs": [later | {"report": "report.json"}], "more_engines": [engine]}
    names = ("later.onnx", "later.engine", "report.json", "report.html")
    for name in names:
        (folder / name).write_bytes(b"of a later version")
    (folder / "manifest.json").write_text(json.dumps(content), encoding="utf-8")
    bundle_writer.write(folder, "b", checkpoint, 0.0, [], [])
    add_to_bundle(Bundle.open(folder), [])
    kept = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert (kept["more_graphs"], kept["more_engines"]) == (content["more_graphs"], [engine])
    assert all((folder / name).is_file() for name in names)
