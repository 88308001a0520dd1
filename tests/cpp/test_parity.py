"""The C++ runtime gives the same pixels as Python."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import runtime
from hcflow.models import shipped as models
from runtime.bundle.manifest import RecordedGrid
from runtime.errors import ImageError
from runtime.inference.auto import cpu_precision
from runtime.inference.report import Report
from runtime.system import machine
from tests.support import cpp_library, shipped
from tests.support.blurring import blurring
from tests.support.bundles import write_bundle
from tests.support.cpp_library import run

pytestmark = cpp_library.MARKS


def _library(installed: Path) -> Path:
    return next(installed.rglob("libhcflow.so"))


@pytest.mark.parametrize("tiles", [None, (8, 3)], ids=["whole", "tiled"])
@pytest.mark.parametrize("form", ["rgb", "rgba", "gray", "gray alpha"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_small_bundle_gives_the_same_bytes_as_python(
    installed: Path, tmp_path: Path, tiles: tuple[int, int] | None, form: str, dtype: str
) -> None:
    bundle = write_bundle(tmp_path / "tiny", default_tau=0.05)
    ours = runtime.load(bundle, backend="openvino", threads=1)
    theirs = cpp_library.Model(_library(installed), bundle, "openvino")
    channels = {"rgb": 3, "rgba": 4, "gray": 1, "gray alpha": 2}[form]
    image = _noise((37, 30, channels), dtype)
    grid = {} if tiles is None else {"tile": tiles[0], "overlap": tiles[1]}
    one, two = theirs.upscale(image, seed=5, **grid), ours.upscale(image, seed=5, **grid)
    if tiles is not None and channels % 2 == 0:
        # Pillow resizes rows or columns first, depending on the strip: a float32 bit may differ.
        np.testing.assert_allclose(
            one[..., -1].astype(float), two[..., -1].astype(float), rtol=0, atol=_step(dtype)
        )
        one, two = one[..., :-1], two[..., :-1]
    _equal(one, two)
    _equal(theirs.downscale(image, **grid), ours.downscale(image, **grid))
    theirs.close()


@pytest.mark.parametrize("tiles", [None, (8, 3), (2, 0)], ids=["whole", "tiled", "tiny tiles"])
@pytest.mark.parametrize("size", [(37, 30), (1, 1), (3, 50)])
def test_a_border_gives_the_same_bytes_as_python(
    installed: Path, tmp_path: Path, tiles: tuple[int, int] | None, size: tuple[int, int]
) -> None:
    grid = {} if tiles is None else {"tile": tiles[0], "overlap": tiles[1]}
    ours = blurring(tmp_path / "blur", 5, backend="openvino", threads=1)
    theirs = cpp_library.Model(_library(installed), tmp_path / "blur", "openvino")
    image = _noise((*size, 3), "uint8")
    _equal(theirs.upscale(image, **grid), ours.upscale(image, **grid))
    _equal(theirs.downscale(image, **grid), ours.downscale(image, **grid))
    theirs.close()
    # Latents keep their place; each pixel of this network depends on its own alone.
    bundle = write_bundle(tmp_path / "tiny", default_tau=0.05, border=5)
    ours = runtime.load(bundle, backend="openvino", threads=1)
    theirs = cpp_library.Model(_library(installed), bundle, "openvino")
    _equal(theirs.upscale(image, seed=5, **grid), ours.upscale(image, seed=5, **grid))
    theirs.close()


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bundles")
    return {name: shipped.write(folder / name, name) for name in models.weights()}


def test_a_tile_without_overlap_uses_the_graphs_overlap_as_in_python(
    installed: Path, bundles: dict[str, Path]
) -> None:
    bundle = bundles["rescale_x4"]
    ours = runtime.load(bundle, backend="openvino", threads=1)
    theirs = cpp_library.Model(_library(installed), bundle, "openvino")
    for ours_way, theirs_way, factor in (
        (ours.upscale, theirs.upscale, 1), (ours.downscale, theirs.downscale, 4),
    ):  # fmt: skip
        image = _noise((24 * factor, 21 * factor, 3), "uint8")
        for tile in (shipped.TILE, shipped.OVERLAP - 1):  # also a tile smaller than the overlap
            report, bare = Report(), Report()
            _equal(theirs_way(image, tile=tile), ours_way(image, tile=tile, report=report))
            assert (theirs.tile, theirs.disagreement) == (report.tile, report.disagreement)
            ours_way(image, tile=tile, overlap=0, report=bare)
            assert bare.disagreement != report.disagreement
    theirs.close()


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("name", sorted(models.weights()))
def test_shipped_models_give_the_same_bytes_as_python(
    installed: Path, bundles: dict[str, Path], name: str, precision: str
) -> None:
    bundle = bundles[name]
    ours = runtime.load(bundle, backend="openvino", precision=precision, threads=1)
    theirs = cpp_library.Model(_library(installed), bundle, "openvino", precision)
    # The bundle's own grid: 2×2 windows of full size, which have a compiled program of their own.
    side = 2 * shipped.TILE + 2 * shipped.OVERLAP
    image = _noise((side * ours.scale, side * ours.scale, 3), "uint8")
    report = Report()
    small = ours.downscale(image, report=report)
    assert small.shape == (side, side, 3)
    _equal(theirs.downscale(image), small)
    assert (theirs.tile, theirs.disagreement) == (report.tile, report.disagreement)
    report = Report()
    options = {"tau": 0.7, "seed": 2**40}
    _equal(theirs.upscale(small, **options), ours.upscale(small, report=report, **options))
    assert (theirs.tile, theirs.disagreement) == (report.tile, report.disagreement)
    assert report.disagreement
    # Another grid: windows of other shapes.
    _equal(
        theirs.upscale(small[:19, :15], tau=0.0, tile=24, overlap=4),
        ours.upscale(small[:19, :15], tau=0.0, tile=24, overlap=4),
    )
    theirs.close()


def test_the_c_example_runs(installed: Path, bundles: dict[str, Path]) -> None:
    answer = run(installed / "bin" / "hcflow-embed", bundles["rescale_x4"])
    assert answer == "rescale_x4 on openvino: 24x16 to 96x64\n"


def test_a_backend_that_was_not_compiled_in_is_named(installed: Path, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "tiny")
    done = subprocess.run(
        [installed / "bin" / "hcflow-embed", bundle, "null"], capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("hcflow-embed: open: backend 'null' was not compiled in")


def test_tiles_fall_back_as_in_python(installed: Path, tmp_path: Path) -> None:
    # Pixels far outside [0, 1], which are invalid below fp32; fp32 graphs are the fallback.
    bundle = write_bundle(tmp_path / "tiny", gain=40.0, precision="fp16", tile=8, overlap=1)
    exact = json.loads((write_bundle(tmp_path / "exact") / "manifest.json").read_text())
    manifest = json.loads((bundle / "manifest.json").read_text())
    for graph in exact["graphs"]:
        (bundle / graph["file"]).write_bytes((tmp_path / "exact" / graph["file"]).read_bytes())
    manifest["graphs"] += [graph | {"tile": 8, "overlap": 1} for graph in exact["graphs"]]
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    ours = runtime.load(bundle, backend="openvino", precision="fp16", threads=1)
    theirs = cpp_library.Model(_library(installed), bundle, "openvino", "fp16")
    image = _noise((20, 17, 3), "uint8")
    image[:, :12] = 0  # needs no fallback
    report = Report()
    _equal(theirs.upscale(image), ours.upscale(image, report=report))
    assert 0 < len(report.fallbacks) < report.tiles
    assert theirs.healed == len(report.fallbacks)
    theirs.close()


def test_auto_chooses_the_same_precision_as_python(installed: Path, tmp_path: Path) -> None:
    # INT8's overlaps cost more than it saves on many tiles, and nothing on a single one.
    bundle = write_bundle(tmp_path / "b", tile=16, overlap=2)
    manifest = runtime.Bundle.open(bundle).manifest
    low = tuple(replace(g, precision="int8", overlap=16) for g in manifest.graphs)
    both = replace(manifest, graphs=(*manifest.graphs, *low))
    (bundle / "manifest.json").write_text(both.to_json(), encoding="utf-8")
    ours = runtime.load(bundle, backend="openvino", precision="auto", threads=1)
    theirs = cpp_library.Model(_library(installed), bundle, "openvino", "auto")
    for side in (20, 200):
        for ours_way, theirs_way, factor in (
            (ours.upscale, theirs.upscale, 1), (ours.downscale, theirs.downscale, 4),
        ):  # fmt: skip
            report, image = Report(), _noise((factor * side, factor * side, 3), "uint8")
            _equal(theirs_way(image), ours_way(image, report=report))
            assert (theirs.precision, theirs.tile) == (report.precision, report.tile)
            if side == 200 or cpu_precision.precisions(both, "openvino", machine.cpu_flags()) == (
                "fp32",
            ):
                assert theirs.precision == "fp32"
            else:
                assert theirs.precision == "int8"
    theirs.close()


@pytest.mark.parametrize(
    ("direction", "recorded"), [("up", (64, 32, 16)), ("down", (64, 32, 16)), ("up", (64, 40, 24))]
)
def test_short_memory_gives_the_same_tiles_as_python(
    sanitized: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    direction: str,
    recorded: tuple[int, ...],
) -> None:
    halved = recorded == (64, 32, 16)  # as those of a manifest that records one grid
    grids = () if halved else tuple(RecordedGrid(tile, 2) for tile in recorded)
    bundle = write_bundle(
        tmp_path / "b", tile=64, overlap=2, bytes_per_lr_pixel=10_000, grids=grids
    )
    program = sanitized / "tests" / "hcflow-memory-limit"
    image = _noise((150, 77, 3) if direction == "up" else (599, 310, 3), "uint8")
    tiles = []
    for megabytes in (200, 90, 80, 40, 25, 12, 9, 8, 1):
        have = megabytes * 1_000_000
        monkeypatch.setattr(machine, "available_memory", lambda have=have: have)
        ours = runtime.load(bundle, backend="openvino", threads=1)  # no memory is in use yet
        report, expected, refused = Report(), None, ""
        try:
            run = ours.upscale if direction == "up" else ours.downscale
            expected = run(image, report=report)
        except ImageError as error:
            refused = str(error).split(" needs about")[0].replace("×", "x")
        done = subprocess.run(
            [program, bundle, "openvino", direction, str(image.shape[1]), str(image.shape[0]),
             str(have)],
            input=image.tobytes(), capture_output=True, check=False,
            env=cpp_library.sanitized_openvino(),
        )  # fmt: skip
        if expected is None:
            assert done.stderr.decode().startswith(refused + " needs about")
            tiles.append(0)
            continue
        assert done.returncode == 0, done.stderr.decode()
        theirs = json.loads(done.stderr)
        assert theirs["tile"] == report.tile
        assert theirs["short"] == (report.tile != 64)
        assert np.float32(theirs["disagreement"]) == np.float32(report.disagreement)
        _equal(np.frombuffer(done.stdout, np.uint8).reshape(expected.shape), expected)
        tiles.append(report.tile)
    assert {*recorded, 0} == set(tiles)


def _noise(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    values = np.random.default_rng(3).random(shape, np.float32)
    if dtype == "float32":
        return values
    return (values * np.iinfo(dtype).max).astype(dtype)


def _step(dtype: str) -> float:
    return 1.0 if dtype != "float32" else 2**-22


def _equal(one: np.ndarray, two: np.ndarray) -> None:
    assert one.dtype == two.dtype
    np.testing.assert_array_equal(one, two)
