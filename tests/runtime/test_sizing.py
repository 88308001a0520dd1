"""The size of an upscaled picture: what is asked is what comes, to the pixel, by strips too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import hcflow
import runtime
from runtime.convert import large_file
from runtime.convert.job import Job
from runtime.convert.sizing import AS_THE_NETWORK, WantedSize, exact_size, sizing_of
from runtime.errors import HcflowError, ImageError, ParameterError
from runtime.images.codecs import vips
from runtime.images.pixels import resampling
from tests.support.bundles import write_bundle
from tests.support.one_model import OneModel


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundles") / "tiny", tile=16, overlap=0)


def save(path: Path, height: int, width: int, channels: int = 3, dtype: Any = np.uint8) -> Path:
    most = int(np.iinfo(dtype).max) + 1
    pixels = np.random.default_rng(1).integers(0, most, (height, width, channels)).astype(dtype)
    Image.fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize(
    ("wanted", "target", "runs"),
    [
        ({}, (400, 600), 1),
        ({"scale": 2}, (200, 300), 1),
        ({"scale": 3.5}, (350, 525), 1),
        ({"scale": 0.5}, (50, 75), 1),
        ({"width": 301}, (201, 301), 1),
        ({"height": 33}, (33, 50), 1),
        ({"max_side": 512}, (341, 512), 1),
        ({"scale": 8}, (800, 1200), 2),
        ({"scale": 16}, (1600, 2400), 2),
        ({"width": 601}, (401, 601), 2),
    ],
)
def test_one_number_decides_both_sides(
    wanted: dict[str, Any], target: tuple[int, int], runs: int
) -> None:
    found = sizing_of((400, 600), 4, WantedSize(**wanted), None)
    assert (found.target, found.runs) == (target, runs)


def test_an_exact_size_may_have_another_shape() -> None:
    assert sizing_of((400, 600), 4, AS_THE_NETWORK, (50, 700)).runs == 2


def test_more_than_two_runs_are_refused_in_words() -> None:
    with pytest.raises(ImageError, match=r"at most 16×, here 2400×1600, by running twice"):
        sizing_of((400, 600), 4, WantedSize(scale=17), None)


@pytest.mark.parametrize(
    "wrong", [{"scale": 0}, {"scale": float("nan")}, {"scale": "x"}, {"width": 0}, {"height": 1.5}]
)
def test_a_size_that_makes_no_sense_is_an_error_of_ours(wrong: dict[str, Any]) -> None:
    with pytest.raises(ParameterError):
        WantedSize(**wrong)


@pytest.mark.parametrize("side", [10**9 + 1, 10**400, 10**5000], ids=["above", "huge", "unprinted"])
@pytest.mark.parametrize("name", ["width", "height", "max_side"])
def test_a_side_that_no_image_has_is_too_large(name: str, side: int) -> None:
    with pytest.raises(
        ParameterError, match=f"^{name} is .*, too large: 1000000000 pixels at most"
    ):
        WantedSize(**{name: side})
    with pytest.raises(ParameterError, match="too large"):
        exact_size((side, 1))
    with pytest.raises(ParameterError, match="too large"):
        exact_size((1, side))


def test_a_scale_out_of_range_names_the_range() -> None:
    with pytest.raises(ParameterError, match="above 0 and below 1000000"):
        WantedSize(scale=1e300)


def test_the_largest_side_is_refused_by_the_model_in_words() -> None:
    with pytest.raises(ImageError, match="by running twice"):
        sizing_of((400, 600), 4, WantedSize(width=10**9), None)


def test_a_side_of_any_type_counts_as_the_number_it_is() -> None:
    assert WantedSize(width=np.int8(100)) == WantedSize(width=100)
    found = sizing_of((400, 600), 4, WantedSize(width=np.int8(100)), None)
    assert found.target == (67, 100)


def test_only_one_of_them_is_taken() -> None:
    with pytest.raises(ParameterError, match="scale and width"):
        WantedSize(scale=2, width=3)


@pytest.mark.parametrize("channels", [3, 4])
def test_a_file_comes_out_as_the_networks_picture_resampled_once(
    bundle: Path, tmp_path: Path, channels: int
) -> None:
    source = save(tmp_path / "in.png", 9, 13, channels)
    full, out = tmp_path / "full.png", tmp_path / "out.png"
    hcflow.upscale_file(source, full, model=bundle, exact=True)
    done = hcflow.upscale_file(source, out, model=bundle, exact=True, scale=2.5)
    assert done["size"] == [33, 23]
    expected = resampling.resize(Image.open(full), 23, 33)
    assert (np.asarray(Image.open(out)) == np.asarray(expected)).all()


def test_above_its_scale_the_network_runs_on_its_own_result(bundle: Path, tmp_path: Path) -> None:
    source = save(tmp_path / "in.png", 5, 7)
    once, twice = tmp_path / "once.png", tmp_path / "twice.png"
    hcflow.upscale_file(source, once, model=bundle, exact=True)
    hcflow.upscale_file(once, twice, model=bundle, exact=True)
    done = hcflow.upscale_file(source, tmp_path / "big.png", model=bundle, exact=True, scale=16)
    assert (done["size"], done["runs"]) == ([112, 80], 2)
    assert (np.asarray(Image.open(tmp_path / "big.png")) == np.asarray(Image.open(twice))).all()


def test_a_record_gives_the_picture_that_is_resized(bundle: Path, tmp_path: Path) -> None:
    source, small = save(tmp_path / "in.png", 10, 13), tmp_path / "small.png"
    hcflow.downscale_file(source, small, model=bundle, exact=True)
    done = hcflow.upscale_file(small, tmp_path / "o.png", model=bundle, exact=True, scale=2)
    assert done["size"] == [7, 5]  # half of 13×10, not of the 16×12 that it was padded to


def test_an_exact_size_below_the_padding_still_cuts(bundle: Path, tmp_path: Path) -> None:
    source, full, cut = save(tmp_path / "in.png", 3, 4), tmp_path / "f.png", tmp_path / "c.png"
    hcflow.upscale_file(source, full, model=bundle, exact=True)
    hcflow.upscale_file(source, cut, model=bundle, exact=True, size=(10, 13))
    assert (np.asarray(Image.open(cut)) == np.asarray(Image.open(full))[:10, :13]).all()


@pytest.mark.skipif(vips.find() is None, reason="libvips is not installed")
@pytest.mark.parametrize("wanted", [{"scale": 1.7}, {"width": 99}, {"max_side": 20}])
@pytest.mark.parametrize("channels", [3, 4])
def test_strips_give_the_same_pixels(
    bundle: Path, tmp_path: Path, wanted: dict[str, Any], channels: int
) -> None:
    source = save(tmp_path / "in.png", 70, 30, channels)
    made = []
    for strips in (False, True):
        out = tmp_path / f"{strips}.png"
        hcflow.upscale_file(source, out, model=bundle, exact=True, strips=strips, **wanted)
        made.append(np.asarray(Image.open(out)))
    assert (made[0] == made[1]).all()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.skipif(vips.find() is None, reason="libvips is not installed")
def test_strips_say_that_they_run_the_network_once(bundle: Path, tmp_path: Path) -> None:
    job = Job("upscale", OneModel(runtime.load(bundle)), wanted=WantedSize(scale=8))
    with pytest.raises(ImageError, match="by strips the network runs once"):
        large_file.convert(job, str(save(tmp_path / "a.png", 4, 4)), str(tmp_path / "b.png"), "PNG")


@pytest.mark.parametrize("wrong", [5, "x", (0, 3), (1, 2, 3)])
def test_a_wrong_exact_size_is_an_error_of_ours(bundle: Path, tmp_path: Path, wrong: Any) -> None:
    source = save(tmp_path / "in.png", 3, 4)
    with pytest.raises(HcflowError):
        hcflow.upscale_file(source, tmp_path / "o.png", model=bundle, size=wrong)
