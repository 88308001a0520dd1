"""How an image will be computed: the tiles asked for, and what memory allows."""

from __future__ import annotations

from pathlib import Path

import pytest

import runtime
from runtime import ImageError, Model, ParameterError
from runtime.inference.plan import plan_for
from runtime.inference.report import Report
from runtime.system import machine
from tests.support.bundles import write_bundle
from tests.support.noise import noise


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tile": 0}, "tile is 0: it must be 1 or more"),
        ({"tile": -4}, "tile is -4"),
        ({"overlap": -1}, "overlap is -1: it must be 0 or more"),
        ({"tile": 8, "overlap": 9}, "overlap 9 is larger than tile 8"),
    ],
)
def test_tiles_that_make_no_sense_are_refused(
    tiny_model: Model, options: dict[str, int], message: str
) -> None:
    with pytest.raises(ParameterError, match=message):
        tiny_model.upscale(noise(9, 9), **options)


def test_a_graph_without_a_grid_needs_both_and_a_tile_beyond_the_image_is_the_image(
    tmp_path: Path,
) -> None:
    model = runtime.load(write_bundle(tmp_path / "whole"))
    with pytest.raises(ParameterError, match="states no tiles of its own: give overlap as well"):
        model.upscale(noise(9, 9), tile=4)
    report = Report()
    model.upscale(noise(9, 9), tile=1000, overlap=3, report=report)
    assert report.tiles == 1


def test_too_little_memory_takes_fewer_in_flight_then_a_smaller_tile_and_then_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_bundle(tmp_path / "b", tile=64, overlap=2, bytes_per_lr_pixel=1_000_000)
    network = runtime.load(folder).network
    monkeypatch.setattr(machine, "usable_cpus", lambda: 16)
    one = 2_000_000 * 68 * 68
    for have, in_flight, tile in ((10 * one, 4, 64), (4.5 * one, 2, 64), (1.2 * one, 1, 64)):
        monkeypatch.setattr(machine, "available_memory", lambda have=have: int(have))
        plan = plan_for(network, "inverse", 196, 196)
        assert (plan.in_flight, plan.grid.tile) == (in_flight, tile)
    assert not caplog.records
    monkeypatch.setattr(machine, "available_memory", lambda: one // 2)
    assert plan_for(network, "inverse", 196, 196).grid.tile == 32
    assert "memory is short: tiles of 32 low-resolution pixels in place of 64" in caplog.text
    assert plan_for(network, "inverse", 64, 64).grid.tile == 32
    monkeypatch.setattr(machine, "available_memory", lambda: one // 40)
    with pytest.raises(ImageError, match="a low-resolution size of 20×20 needs about"):
        plan_for(network, "inverse", 196, 196)


def test_memory_that_an_earlier_run_holds_counts_as_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_bundle(tmp_path / "b", tile=32, overlap=2, bytes_per_lr_pixel=1000)
    model = runtime.load(folder)
    grids = []
    for have in (2_700_000 + 2_000_000, 2_000_000):
        monkeypatch.setattr(machine, "available_memory", lambda have=have: have)
        report = Report()
        model.upscale(noise(80, 80), report=report)
        grids.append(report.tile)
    assert grids == [32, 32]
