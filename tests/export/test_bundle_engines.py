"""Engines of a bundle: into the user's cache or into the bundle, and which are compiled again."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from export.engine import bundle_engines, plan
from export.engine.compile import Compiled
from export.engine.log import Record
from export.engine.options import EngineOptions
from export.engine.profile import Sizes
from export.errors import ExportError
from runtime.bundle.engines import cache
from runtime.bundle.engines.entry import Range, of_manifest
from runtime.bundle.graph_entry import RecordedGrid
from runtime.bundle.reader import Bundle
from tests.support.bundles import write_bundle


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A compiler that makes something at once, and the graphs it was given."""
    calls: list[str] = []

    def fake(data: bytes, shapes: object, precision: str, *_: object) -> Compiled:
        calls.append(hashlib.sha256(data).hexdigest())
        return Compiled(b"engine of " + data[:8], Record(), 0.1, None, None)

    library = type("Module", (), {"__version__": "1.7.1.116"})
    monkeypatch.setattr(bundle_engines, "compile_graph", fake)
    monkeypatch.setattr(
        bundle_engines,
        "profile",
        lambda *_: {"lr": Range((1, 3, 8, 8), (1, 3, 16, 16), (2, 3, 32, 32))},
    )
    monkeypatch.setattr(bundle_engines.tensorrt_engine, "load_library", lambda _: library)
    return calls


OPTIONS = EngineOptions("tensorrt-rtx")


def test_engines_go_to_the_users_cache_and_are_found_there_the_next_time(
    compiler: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HCFLOW_CACHE", str(tmp_path / "cache"))
    bundle = Bundle.open(write_bundle(tmp_path / "b"))
    first = bundle_engines.compile_bundle(bundle, OPTIONS)
    assert [made.cached for made in first] == [False, False]
    again = bundle_engines.compile_bundle(bundle, OPTIONS)
    assert [made.cached for made in again] == [True, True]
    assert len(compiler) == 2
    assert all(made.path.parent == tmp_path / "cache" / "engines" for made in again)
    bundle_engines.compile_bundle(bundle, replace(OPTIONS, tf32=True))  # asks for something else
    assert len(compiler) == 4
    first[0].path.write_bytes(b"damaged")
    bundle_engines.compile_bundle(bundle, OPTIONS, directions=("inverse",))
    assert len(compiler) == 5
    assert cache.find(bundle.manifest.graphs[0].sha256)


def test_engines_asked_for_by_a_build_lie_in_the_bundle_and_replace_older_ones(
    compiler: list[str], tmp_path: Path
) -> None:
    folder = write_bundle(tmp_path / "b")
    bundle_engines.compile_bundle(Bundle.open(folder), OPTIONS, into_bundle=True)
    manifest = Bundle.open(folder).manifest
    listed = of_manifest(manifest, "b")
    assert {e.direction for e in listed} == {"inverse", "forward"}
    assert all((folder / e.file).read_bytes().startswith(b"engine of") for e in listed)
    bundle_engines.compile_bundle(Bundle.open(folder), OPTIONS, into_bundle=True)
    assert of_manifest(Bundle.open(folder).manifest, "b") == listed
    assert len(list(folder.glob("*.engine"))) == 2


def test_an_engine_says_which_form_it_has_and_each_form_is_kept(
    compiler: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HCFLOW_CACHE", str(tmp_path / "cache"))
    bundle = Bundle.open(write_bundle(tmp_path / "b"))
    (plain,) = bundle_engines.compile_bundle(bundle, OPTIONS, directions=("inverse",))
    assert plain.engine.form == "flat"  # no dense block is in this graph
    compiler.clear()
    monkeypatch.setattr(bundle_engines, "find", lambda _: ["a dense block"])
    for form in (None, "folded", "folded"):
        options = replace(OPTIONS, form=form)  # type: ignore[arg-type]
        made = bundle_engines.compile_bundle(bundle, options, directions=("inverse",))
        assert made[0].engine.form == (form or options.form_of(made[0].engine.precision))
    assert len(compiler) == 2
    assert len(cache.find(bundle.manifest.graphs[0].sha256)) == 3


def test_again_compiles_again_for_the_bundle_too(
    compiler: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HCFLOW_CACHE", str(tmp_path / "cache"))
    bundle = Bundle.open(write_bundle(tmp_path / "b"))
    bundle_engines.compile_bundle(bundle, OPTIONS)
    bundle_engines.compile_bundle(bundle, OPTIONS, into_bundle=True)
    assert len(compiler) == 2
    bundle_engines.compile_bundle(bundle, OPTIONS, into_bundle=True, again=True)
    assert len(compiler) == 4


def test_an_engine_of_a_graph_that_a_build_replaced_meanwhile_is_left_out(
    compiler: list[str], tmp_path: Path
) -> None:
    folder = write_bundle(tmp_path / "b")
    bundle = Bundle.open(folder)
    kept, gone = bundle.manifest.graphs
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace(gone.sha256, "0" * 64))
    bundle_engines.compile_bundle(bundle, OPTIONS, into_bundle=True)
    assert [e.graph for e in of_manifest(Bundle.open(folder).manifest, "b")] == [kept.sha256]


def test_a_compilation_that_dies_leaves_the_bundle_as_it_was(
    compiler: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_bundle(tmp_path / "b")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    right = bundle_engines.atomic.write

    def full(path: Path, data: bytes) -> None:
        if path.name == "manifest.json":
            raise OSError(28, "No space left on device")
        right(path, data)

    monkeypatch.setattr(bundle_engines.atomic, "write", full)
    with pytest.raises(OSError, match="No space"):
        bundle_engines.compile_bundle(Bundle.open(folder), OPTIONS, into_bundle=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_bundle_without_such_a_graph_says_so(tmp_path: Path) -> None:
    bundle = Bundle.open(write_bundle(tmp_path / "b", directions=["inverse"]))
    with pytest.raises(ExportError, match="no forward graph"):
        bundle_engines.compile_bundle(bundle, OPTIONS, directions=("forward",))


def test_an_engine_that_fell_back_is_told_of_when_made_and_when_found_and_refused_if_strict(
    compiler: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HCFLOW_CACHE", str(tmp_path / "cache"))
    half = plan.Convolution("fp16", "fp16", False, 1)
    program = plan.Program((plan.Kernel("c", (), ("fp16",), ("fp16",), 1, half),))
    monkeypatch.setattr(
        bundle_engines,
        "compile_graph",
        lambda *_: Compiled(b"engine", Record(), 0.1, None, program),
    )
    monkeypatch.setattr(bundle_engines.layer_precision, "_asked_for", lambda *_: (2, 0))
    bundle = Bundle.open(write_bundle(tmp_path / "b", precision="fp8", directions=["inverse"]))
    for cached in (False, True):
        (made,) = bundle_engines.compile_bundle(bundle, OPTIONS)
        assert made.cached == cached
        assert made.warnings == (
            "inverse fp8: 2 of 2 convolutions that the graph has in fp8 do not run in it: the "
            "program has 0 in fp8, 1 in fp16",
        )
    with pytest.raises(ExportError, match="--strict refuses"):
        bundle_engines.compile_bundle(bundle, replace(OPTIONS, strict=True))


def test_an_engine_of_a_tiled_graph_has_a_profile_for_each_size_class(
    compiler: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HCFLOW_CACHE", str(tmp_path / "cache"))
    ranges = lambda _, sizes: {"lr": Range(sizes.smallest, sizes.best, sizes.largest)}  # noqa: E731
    monkeypatch.setattr(bundle_engines, "profile", ranges)
    grids = (RecordedGrid(48, 4), RecordedGrid(24, 4), RecordedGrid(16, 4))
    bundle = Bundle.open(write_bundle(tmp_path / "b", tile=48, overlap=4, grids=grids))
    compiled = bundle_engines.compile_bundle(bundle, OPTIONS)
    sides = bundle.manifest.graphs[0].window_classes
    assert sides == (24, 32, 56)
    for made in compiled:
        assert [each["lr"].best for each in made.engine.profiles] == [(s, s) for s in sides]
    one = replace(OPTIONS, sizes=Sizes(largest=(56, 56)))
    (made,) = bundle_engines.compile_bundle(bundle, one, directions=("inverse",))
    assert (len(made.engine.profiles), made.cached) == (1, False)
