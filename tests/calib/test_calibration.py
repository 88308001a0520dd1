"""Calibration reads a folder fairly, finds ranges, and puts blocks back until the budget holds."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from calib import images
from calib.errors import CalibrationError
from calib.ranges import METHODS, Histograms
from calib.sensitivity import choose


def noise(path: Path, side: int = 48, seed: int = 0) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def test_every_third_image_is_held_out_and_unreadable_ones_are_named(tmp_path: Path) -> None:
    for index, suffix in enumerate(("png", "jpg", "webp", "tif", "bmp", "ppm")):
        noise(tmp_path / f"{index}.{suffix}", seed=index)
    (tmp_path / "notes.txt").write_text("no image")
    with (tmp_path / "film.mkv").open("wb") as film:
        film.truncate(1 << 42)  # more than any memory
    noise(tmp_path / "tiny.png", side=8)
    said: list[str] = []
    found = images.crops(tmp_path, 32, said.append)
    assert found.calibrate.shape == (4, 3, 32, 32)
    assert found.hold_out.shape == (2, 3, 32, 32)
    assert any("notes.txt" in line for line in said)
    assert any("film.mkv" in line for line in said)
    assert any("tiny.png" in line and "8×8" in line for line in said)
    again = images.crops(tmp_path, 32, said.append)
    assert np.array_equal(found.hold_out, again.hold_out)


def test_a_folder_that_will_not_do_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="no such folder"):
        images.crops(tmp_path / "nowhere", 32, print)
    with pytest.raises(CalibrationError, match="is empty"):
        images.crops(tmp_path, 32, print)
    noise(tmp_path / "one.png")
    with pytest.raises(CalibrationError, match="1 usable image"):
        images.crops(tmp_path, 32, print)
    (tmp_path / "two.png").write_bytes(b"no image")
    with pytest.raises(CalibrationError, match=r"1 usable image\(s\) among 2 files"):
        images.crops(tmp_path, 32, print)
    with pytest.raises(CalibrationError, match="0 usable image"):
        images.crops(tmp_path, 64, print)


def test_every_second_photograph_is_as_sharp_as_a_small_one(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (480, 480, 3), np.uint8)
    large = noise.repeat(3, 0).repeat(3, 1)
    for name in "abcd":
        Image.fromarray(large).save(tmp_path / f"{name}.png")
    found = images.crops(tmp_path, 64, print)
    every = [*found.calibrate, *found.hold_out]  # held out: 1; the others: 0, 2, 3
    steps = [np.abs(np.diff(crop, axis=2)).mean() for crop in every]
    smooth, sharp = steps[:2], steps[2:]
    assert min(sharp) > 2.5 * max(smooth)


def test_ranges_of_an_outlier() -> None:
    values = np.random.default_rng(0).normal(size=200_000).astype(np.float32)
    values[0] = 100
    histograms = Histograms()
    histograms.add("x", values)
    histograms.add("nothing", np.zeros(10, np.float32))
    ranges = {method: histograms.ranges(method) for method in METHODS}
    assert ranges["minmax"]["x"] == 100
    assert 3 < ranges["percentile"]["x"] < 6
    assert ranges["entropy"]["x"] < 100
    assert all(0 < found["nothing"] < 1e-30 for found in ranges.values())


def test_ranges_do_not_depend_on_how_values_come_in_parts() -> None:
    values = np.random.default_rng(0).normal(size=60_000).astype(np.float32)
    values[50_000:] *= 5
    whole, parts = Histograms(), Histograms()
    whole.add("x", values)
    for part in np.split(values, 6):
        parts.add("x", part)
    for method in METHODS:
        assert parts.ranges(method)["x"] == pytest.approx(whole.ranges(method)["x"], rel=0.1)


def test_the_worst_blocks_go_back_first_and_no_more_than_needed() -> None:
    costs = {"a": 0.01, "b": 0.08, "c": 0.05, "d": 0.001}
    work = dict.fromkeys(costs, 0.25)
    found = choose(work, costs.__getitem__, lambda int8: sum(costs[n] for n in int8), 0.141, 0.07)
    assert found.reverted == ("b",)
    assert found.share == 0.75
    assert found.loss_db == pytest.approx(0.061)
    assert found.all_int8_loss_db == pytest.approx(0.141)


def test_cheap_blocks_go_back_before_large_ones_of_the_same_cost() -> None:
    costs, work = {"large": 0.1, "small": 0.1}, {"large": 0.9, "small": 0.1}
    found = choose(work, costs.__getitem__, lambda int8: sum(costs[n] for n in int8), 0.2, 0.1)
    assert found.reverted == ("small",)


def test_a_budget_that_cannot_be_met_takes_everything_back() -> None:
    found = choose({"a": 0.5, "b": 0.5}, lambda name: 1.0, lambda int8: 1.0, 1.0, 0.1)
    assert found.share == 0
    assert found.all_int8_loss_db == 1.0
