"""What a folder's list of results depends on: an image is made again where its graphs change."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hcflow.models.load import Models
from runtime.bundle.manifest import Manifest, Precision, Target
from runtime.bundle.reader import Bundle
from runtime.convert.folders.resume import FILE_NAME, Finished
from runtime.convert.job import ON_GPUS, Job
from tests.support.bundles import write_bundle


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return Bundle.open(write_bundle(tmp_path_factory.mktemp("bundle") / "tiny")).manifest


def _with(
    manifest: Manifest, precision: Precision, target: Target | None = None, build: str = "1"
) -> Manifest:
    """A bundle with graphs in another precision as well."""
    low: Any = {"precision": precision, "target": target, "sha256": build * 64}
    more = (replace(g, file=f"{g.direction}.low.onnx", **low) for g in manifest.graphs)
    return replace(manifest, graphs=(*manifest.graphs, *more))


def _identity(manifest: Manifest, **options: Any) -> dict[str, Any]:
    return Job("upscale", Models(options)).identity(manifest, "1")


def test_graphs_added_for_another_precision_do_not_change_a_job(manifest: Manifest) -> None:
    more = _with(manifest, "int8")
    for precision, same in ((None, True), ("fp32", True), ("int8", False), ("auto", False)):
        before, after = (_identity(each, precision=precision) for each in (manifest, more))
        assert (before == after) == same


@pytest.mark.parametrize(
    ("precision", "target"), [("fp16", None), ("fp16", "rtx"), ("fp8", None), ("fp8", "rtx")]
)
def test_whatever_auto_may_take_on_a_gpu_is_of_the_job(
    manifest: Manifest, precision: Precision, target: Target | None
) -> None:
    first, other = (_with(manifest, precision, target, build) for build in "12")
    for options in ({"backend": "auto", "precision": "auto"}, {"precision": precision}):
        assert _identity(first, **options) != _identity(other, **options)
        assert _identity(first, **options) != _identity(manifest, **options)
    for options in ({"precision": "fp32"}, {"backend": "onnxruntime", "precision": "auto"}):
        assert _identity(first, **options) == _identity(manifest, **options)


def test_a_job_without_graphs_for_gpus_alone_is_written_as_before(manifest: Manifest) -> None:
    for low in (manifest, _with(manifest, "int8")):
        identity = _identity(low, backend="auto", precision="auto")
        assert ON_GPUS not in identity
        assert identity["graphs"] == {g.file: g.sha256 for g in low.graphs}


def test_what_an_earlier_version_finished_stays_so_until_a_graph_changes(
    manifest: Manifest, tmp_path: Path
) -> None:
    first, other = (
        _identity(_with(manifest, "fp16", build=build), precision="auto") for build in "12"
    )
    earlier = {key: value for key, value in first.items() if key != ON_GPUS}
    names = {name: str(tmp_path / name) for name in ("a.png", "b.png")}
    before = Finished(str(tmp_path), earlier)
    for name, path in names.items():
        Path(path).write_bytes(b"image")
        before.add(name, (5, Path(path).stat().st_mtime_ns), path)
    before.close()

    def has(job: dict[str, Any], name: str) -> bool:
        finished = Finished(str(tmp_path), job)
        found = finished.has(name, names[name], names[name])
        finished.close()
        return found

    assert has(first, "a.png")  # and is from now on of this graph alone
    assert not has(other, "a.png")
    assert not has(earlier, "a.png")
    assert has(first, "a.png")
    assert has(earlier, "b.png")
    lines = (tmp_path / FILE_NAME).read_text().splitlines()
    assert len([line for line in lines if len(line) == 32]) == 3
