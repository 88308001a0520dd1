"""A build writes no manifest that the runtime refuses to read for its size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from export import bundle_writer
from export.artifact import Artifact
from export.errors import ExportError
from hcflow_ref.checkpoint.load import load
from runtime import Bundle
from runtime.bundle.reader import MOST_MANIFEST
from tests.support.bundles import write_bundle
from tests.support.golden_files import weights


def test_a_manifest_larger_than_the_runtime_reads_is_refused_before_it_is_written(
    tmp_path: Path,
) -> None:
    tiny = write_bundle(tmp_path / "tiny", directions=["forward"])
    graph = Bundle.open(tiny).manifest.graphs[0]
    artifact = Artifact((tiny / graph.file).read_bytes(), graph)
    checkpoint = replace(load(weights("rescale_x4")), provenance={"notes": "x" * MOST_MANIFEST})
    with pytest.raises(ExportError, match=r"manifest of 'b' would have 419\d{4} bytes, more than"):
        bundle_writer.write(tmp_path / "b", "b", checkpoint, 0.0, [artifact], [])
    assert not (tmp_path / "b").exists()
    smaller = replace(checkpoint, provenance={"notes": "x" * (MOST_MANIFEST // 2)})
    bundle_writer.write(tmp_path / "b", "b", smaller, 0.0, [artifact], [])
    assert Bundle.open(tmp_path / "b").manifest.graphs == (graph,)
