"""Certification: the overlap is the smallest that holds; a grid that does not hold is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export import tile_grid, tiled_loss
from export.artifact import Artifact
from export.checks import tile_pictures
from export.errors import BudgetError, ExportError
from export.pipeline import Request, build
from export.precision.evaluation import Trial
from export.tiled_loss import Evaluated
from hcflow_ref.checkpoint.load import load
from runtime import Bundle
from runtime.bundle.manifest import Graph, Loss, Manifest
from runtime.checks import tile_error
from runtime.checks.tile_error import worst_by_distance
from tests.support.bundles import write_bundle
from tests.support.golden_files import weights


def graph_of(folder: Path) -> Graph:
    return Bundle.open(write_bundle(folder, directions=["inverse"], latents=False)).graph(
        "inverse", "fp32", False
    )


def blur(radius: int, strength: float) -> tile_error.Runner:
    """A network that adds the mean of the `radius` LR pixels below, and looks no further."""

    def run(feeds):  # type: ignore[no-untyped-def]
        lr = feeds["lr"].astype(np.float64)
        total = np.cumsum(np.pad(lr, ((0, 0), (0, 0), (1, radius), (0, 0))), axis=2)
        below = (total[:, :, radius:] - total[:, :, :-radius])[:, :, 1:]
        blurred = (0.5 * lr + strength * below[:, :, : lr.shape[2]] / radius).astype(np.float32)
        return {"hr": blurred.repeat(4, axis=2).repeat(4, axis=3)}

    return run


def test_the_curve_ends_where_the_network_stops_looking(tmp_path: Path) -> None:
    graph = graph_of(tmp_path / "b")
    scene = tile_error.SMALL
    picture = tile_error.picture(scene.picture)
    worst = worst_by_distance(blur(5, 0.4), graph, (), picture, 0.0, scene)
    assert (worst[:5] > 0.04).all()
    assert (worst[5:] < 1e-6).all()
    assert (np.diff(worst) <= 0).all()


def test_the_smallest_overlap_of_the_ladder_that_holds_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = Artifact(b"", graph_of(tmp_path / "b"))
    lines: list[str] = []
    for radius, overlap in ((3, 4), (5, 8), (20, 24), (40, 48), (60, None)):
        session = type("Session", (), {"run": staticmethod(blur(radius, 0.4))})
        monkeypatch.setattr(tile_grid, "open_session", lambda *_, session=session: session)
        (certified,) = tile_grid.certify([built], (), 4, (0.0,), tile_grid.Options(), lines.append)
        assert certified.entry.overlap == overlap
        assert (certified.entry.tile is None) == (overlap is None)
        if overlap is None:
            assert certified.entry.deviations == ()
        else:
            cases = {row.case for row in certified.entry.deviations}
            assert tile_error.PICTURE in cases
    assert "no overlap up to 48 keeps tiles to 1/255" in lines[-1]


def test_a_lower_precision_has_the_same_grid_unless_it_needs_a_larger_overlap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = graph_of(tmp_path / "b")
    reach = {b"fp32": 5, b"fp16": 3, b"int8": 12}
    made = [Artifact(d, replace(entry, precision=d.decode())) for d in reach]  # type: ignore[arg-type]

    def open_(_backend: str, data: bytes, *_: object) -> object:
        return type("Session", (), {"run": staticmethod(blur(reach[data], 0.4))})

    monkeypatch.setattr(tile_grid, "open_session", open_)
    certified = tile_grid.certify(made, (), 4, (0.0,), tile_grid.Options(), print)
    assert [each.entry.overlap for each in certified] == [8, 8, 12]
    single, half, low = (each.entry.tile or 0 for each in certified)
    assert single == half > low


def test_a_graph_below_fp32_has_figures_of_its_borders_and_of_whole_photographs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = graph_of(tmp_path / "b")
    made = [Artifact(p.encode(), replace(entry, precision=p)) for p in ("fp32", "int8")]  # type: ignore[arg-type]
    gain = {b"fp32": 0.4, b"int8": 0.4}

    def open_(_backend: str, data: bytes, *_: object) -> object:
        return type("Session", (), {"run": staticmethod(blur(5, gain[data]))})

    monkeypatch.setattr(tile_grid, "open_session", open_)
    lr = np.random.default_rng(0).random((1, 3, 60, 20), np.float32)
    truth = blur(5, 0.4)({"lr": lr})["hr"] + np.float32(0.02)
    photographs = Evaluated([("cat", Trial(truth, {"lr": lr}, 0.0))], None, {"int8": 0.1})
    lines: list[str] = []

    def certified() -> Graph:
        options = tile_grid.Options()
        args = (made, (), 4, (0.0,), options, lines.append, lambda: photographs)
        return tile_grid.certify(*args)[1].entry

    low = certified()
    assert (low.overlap, low.deviations) == (8, ())
    assert {row.figure for row in low.seams} == {"difference", "jump"}
    assert {row.case for row in low.seams} == {tile_pictures.PATTERNS, tile_pictures.EVALUATED}
    assert low.neighbours is not None
    assert low.neighbours < 1e-6
    (loss,) = low.tiled_losses
    assert (loss.case, loss.loss_db) == ("cat", pytest.approx(0, abs=1e-4))
    assert [grid.tile for grid in low.grids] == [low.tile, 248, 120, 56]
    gain[b"int8"] = 0.39  # further from the photograph than its budget
    assert certified().tile is None
    assert lines == [
        "inverse int8: no overlap up to 48 keeps tiles without visible borders and in budget; "
        "images will be run whole"
    ]


@pytest.mark.parametrize(
    ("losses", "holds"),
    [((0.05, 0.14), True), ((0.12, 0.09), False), ((-0.3, 0.21), False), ((), True)],
)
def test_photographs_in_tiles_keep_to_the_budget_on_average_and_none_loses_twice_as_much(
    losses: tuple[float, ...], holds: bool
) -> None:
    rows = [Loss("cat", 0.0, 48.0, loss) for loss in losses]
    assert tiled_loss.within(rows, 0.10) == holds


def test_smaller_grids_are_recorded_for_less_memory() -> None:
    assert [grid.tile for grid in tile_grid.recorded(208, 12)] == [208, 104, 48, 24]
    assert [grid.tile for grid in tile_grid.recorded(40, 9)] == [40, 16]
    assert [grid.tile for grid in tile_grid.recorded(6, 24)] == [6]
    assert all(grid.overlap == 9 for grid in tile_grid.recorded(40, 9))


def test_the_tile_is_what_memory_allows(tmp_path: Path) -> None:
    graph = replace(graph_of(tmp_path / "b"), bytes_per_lr_pixel=10_000)
    tile = tile_grid.largest_tile(graph, 8)
    assert tile % 8 == 0
    assert 2 * 10_000 * (tile + 16) ** 2 <= 7e8 < 2 * 10_000 * (tile + 24) ** 2


@pytest.mark.parametrize(
    ("tile", "overlap", "message"),
    [(8, 33, "--overlap 33 is more than 4 times --tile 8"), (None, 129, "at most 128 LR pixels")],
)
def test_a_grid_that_cannot_be_written_is_refused_before_any_work(
    tmp_path: Path, tile: int | None, overlap: int, message: str
) -> None:
    lines: list[str] = []
    request = Request("small", tiling=tile_grid.Options(tile, overlap))
    with pytest.raises(ExportError, match=message):
        build(load(weights("rescale_x4")), tmp_path / "b", request, lines.append)
    assert not lines


def test_a_tile_and_its_overlap_go_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = replace(graph_of(tmp_path / "b"), bytes_per_lr_pixel=10**6)  # memory for 18 pixels
    built = Artifact(b"", entry)
    session = type("Session", (), {"run": staticmethod(blur(20, 0.1))})
    monkeypatch.setattr(tile_grid, "open_session", lambda *_: session)
    lines: list[str] = []

    def grid(tile: int | None, overlap: int | None) -> tuple[int | None, int | None]:
        options = tile_grid.Options(tile, overlap)
        (certified,) = tile_grid.certify([built], (), 4, (0.0,), options, lines.append)
        return certified.entry.tile, certified.entry.overlap

    assert grid(6, None) == (6, 24)
    assert not lines
    assert grid(5, None) == (None, None)
    assert "no overlap up to 16 keeps tiles of 5 to 1/255" in lines[-1]
    assert grid(None, 80) == (24, 80)


def test_tiles_over_budget_mark_their_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = Artifact(b"", graph_of(tmp_path / "b"))
    session = type("Session", (), {"run": staticmethod(blur(5, 0.4))})
    monkeypatch.setattr(tile_grid, "open_session", lambda *_: session)
    for overlap, within in ((8, True), (2, False)):
        options = tile_grid.Options(24, overlap)
        (certified,) = tile_grid.certify([built], (), 4, (0.0,), options, print)
        assert certified.entry.within_budget == within


def small(folder: Path, **options: object) -> Manifest:
    request = Request("small", directions=["inverse"], with_latents=False, **options)  # type: ignore[arg-type]
    return build(load(weights("rescale_x4")), folder, request)


def test_a_grid_of_ones_own_is_measured_and_must_hold(tmp_path: Path) -> None:
    (graph,) = small(tmp_path / "a", tiling=tile_grid.Options(tile=24, overlap=9)).graphs
    assert (graph.tile, graph.overlap) == (24, 9)
    assert all(row.max_abs <= 1 / 255 for row in graph.deviations)
    thin = tile_grid.Options(tile=24, overlap=0)
    with pytest.raises(BudgetError, match="tiles of 24 with overlap 0, noise"):
        small(tmp_path / "b", tiling=thin)
    assert not (tmp_path / "b").exists()
    (kept,) = small(tmp_path / "b", tiling=thin, accept_over_budget=True).graphs
    assert max(row.max_abs for row in kept.deviations) > 1 / 255
    assert not kept.within_budget
    assert all(row.ok for row in kept.parity)


def test_photographs_of_a_folder_are_measured_on(tmp_path: Path) -> None:
    folder = photographs(tmp_path / "photographs")
    (graph,) = small(tmp_path / "b", tiling=tile_grid.Options(calibration=folder)).graphs
    assert "garden.png" in {row.case for row in graph.deviations}


def photographs(folder: Path, side: int = 200) -> Path:
    folder.mkdir()
    (folder / "letter.txt").write_text("dear")
    pixels = np.random.default_rng(0).integers(0, 256, (side, side + 30, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "garden.png")
    return folder


def test_photographs_that_will_not_do_are_named_before_any_work(tmp_path: Path) -> None:
    folder, lines = photographs(tmp_path / "photographs", side=100), list[str]()
    with pytest.raises(ExportError, match="has no photograph of at least 160×160 pixels"):
        tile_grid.check(tile_grid.Options(calibration=folder), 4, lines.append)
    assert len(lines) == 1
    assert "letter.txt" in lines[0]
    for place in (tmp_path / "nowhere", folder / "letter.txt"):
        with pytest.raises(ExportError, match=r"--tile-photographs .*: No.*; give a folder"):
            tile_grid.check(tile_grid.Options(calibration=place), 4, lines.append)
    request = Request("small", tiling=tile_grid.Options(calibration=folder))
    with pytest.raises(ExportError, match="has no photograph"):
        build(load(weights("rescale_x4")), tmp_path / "b", request, lines.append)
    assert all("letter.txt" in line for line in lines)


def test_photographs_too_small_for_a_large_overlap_leave_it_to_the_stripes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = tile_grid.Options(calibration=photographs(tmp_path / "photographs"))
    session = type("Session", (), {"run": staticmethod(blur(20, 0.4))})
    monkeypatch.setattr(tile_grid, "open_session", lambda *_: session)
    built, lines = Artifact(b"", graph_of(tmp_path / "b")), list[str]()
    tile_grid.check(options, 4, print)
    (certified,) = tile_grid.certify([built], (), 4, (0.0,), options, lines.append)
    assert certified.entry.overlap == 24
    assert "has no photograph of 704×704 pixels" in lines[0]


@pytest.mark.parametrize("name", ["shade.png", "shade.tif"])
def test_a_photograph_of_many_bits_is_as_bright_as_one_of_eight(tmp_path: Path, name: str) -> None:
    ramp = np.linspace(0, 1, 41 * 41, dtype=np.float32).reshape(41, 41)
    deep = np.rint(ramp * 65535).astype(np.uint16) if name.endswith(".png") else ramp
    Image.fromarray(deep).save(tmp_path / name)
    ((_, square),) = tile_pictures.photographs(tmp_path, 41)
    assert square.shape == (3, 41, 41)
    assert np.abs(square - ramp).max() < 1e-4


def test_adding_a_graph_without_latents_keeps_the_default_tau(tmp_path: Path) -> None:
    checkpoint = load(weights("rescale_x4"))
    given = tile_grid.Options(tile=16, overlap=8)
    first = Request("small", directions=["inverse"], tau=0.4, tiling=given)
    build(checkpoint, tmp_path / "b", first)
    manifest = small(tmp_path / "b", tiling=given)
    assert manifest.default_tau == 0.4
    assert len(manifest.graphs) == 2
