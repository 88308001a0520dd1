"""Images beyond memory: strips give the pixels of the whole, and a killed run goes on."""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import hcflow
from hcflow.models.load import Models
from runtime import FileError, ImageError, ParameterError
from runtime.bundle.reader import Bundle
from runtime.convert import file, large_file, restore, streamable
from runtime.convert.job import Job
from runtime.images.codecs import files, formats, strips, vips
from runtime.images.codecs.formats import Photo
from runtime.images.codecs.strips import Form
from runtime.inference.report import Report
from tests.support.bundles import write_bundle
from tests.support.odd_files import png, tiff
from tests.support.one_model import OneModel

ROOT = Path(__file__).parents[2]
OUT = "nowhere.png"  # a result that is not there yet

pytestmark = pytest.mark.skipif(vips.find() is None, reason="pyvips is not installed")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "tiny", tile=8, overlap=2)


@pytest.fixture(scope="module")
def model(bundle: Path) -> hcflow.Model:
    return hcflow.load(bundle)


def _picture(mode: str, width: int, height: int) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (height, width, 4), np.uint8)
    return Image.fromarray(values).convert(mode)


def _pixels(path: Path) -> np.ndarray:
    return np.asarray(files.read(path).image)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("size", [(1, 1), (37, 53), (30, 33)])
def test_strips_give_the_pixels_of_the_whole_image(
    model: hcflow.Model, tmp_path: Path, mode: str, size: tuple[int, int]
) -> None:
    source, down, up = (tmp_path / f"{name}.png" for name in ("in", "down", "up"))
    _picture(mode, *size).save(source)
    photo = files.read(source)
    large_file.convert(Job("downscale", OneModel(model)), str(source), str(down), "PNG")
    np.testing.assert_array_equal(_pixels(down), np.asarray(model.downscale(photo.image)))
    large_file.convert(
        Job("upscale", OneModel(model), tau=0.7, seed=3),
        str(source),
        str(up),
        "PNG",
    )
    whole = model.upscale(photo.image, tau=0.7, seed=3)
    np.testing.assert_array_equal(_pixels(up), np.asarray(whole))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["down.png", "in.png", "up.png"]


@pytest.mark.parametrize("format_name", ["PNG", "TIFF", "JPEG", "WEBP", "AVIF"])
def test_strips_go_through_every_format_and_back_to_the_size(
    bundle: Path, model: hcflow.Model, tmp_path: Path, format_name: str
) -> None:
    source, down, up = (str(tmp_path / name) for name in ("in", "down", "up.png"))
    taken = format_name if format_name in strips.READ else "PNG"
    Path(source).write_bytes(formats.encode(Photo(_picture("RGB", 45, 31)), taken))
    large_file.convert(Job("downscale", OneModel(model)), source, down, format_name)
    if format_name not in strips.READ:
        assert hcflow.upscale_file(down, up, model=bundle)["size"] == [45, 31]
        return
    made = large_file.convert(Job("upscale", OneModel(model)), down, up, "PNG")
    assert made.record is not None
    assert Image.open(up).size == (45, 31)


def test_each_graph_has_its_own_tiles_by_strips_too(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "both", tile=8, overlap=2)
    other = write_bundle(tmp_path / "calm", latents=False, tile=5, overlap=1)
    manifest, more = (Bundle.open(each).manifest for each in (folder, other))
    (calm,) = [graph for graph in more.graphs if not graph.latents]
    shutil.copy(other / calm.file, folder)
    both = replace(manifest, graphs=(*manifest.graphs, calm))
    (folder / "manifest.json").write_text(both.to_json())
    model, source = hcflow.load(folder), tmp_path / "in.png"
    _picture("RGB", 24, 24).save(source)
    for tau, tile in ((0.0, 5), (1.0, 8)):
        report = Report()
        job = Job("upscale", OneModel(model), tau=tau)
        large_file.convert(job, str(source), str(tmp_path / "up.png"), "PNG", report=report)
        assert report.tile == tile


def test_a_turned_photograph_is_streamed_upright(model: hcflow.Model, tmp_path: Path) -> None:
    source, down = tmp_path / "in.jpg", tmp_path / "down.png"
    exif = Image.Exif()
    exif[0x0112] = 6
    _picture("RGB", 40, 24).save(source, exif=exif, quality=95)
    large_file.convert(Job("downscale", OneModel(model)), str(source), str(down), "PNG")
    np.testing.assert_array_equal(_pixels(down), model.downscale(files.read(source).image))


@pytest.mark.parametrize("format_name", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_what_was_streamed_is_not_called_edited(
    model: hcflow.Model,
    tmp_path: Path,
    format_name: str,
    mode: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    source, down = tmp_path / "in.png", tmp_path / "down"
    picture = _picture(mode, 24, 24)
    if "A" in mode:
        picture.putalpha(255)  # which WebP drops
    picture.save(source)
    made = large_file.convert(
        Job("downscale", OneModel(model)), str(source), str(down), format_name
    )
    restore.check_pixels(made.record, files.read(down).image, "x")
    assert caplog.text == ""


def test_the_exif_of_a_streamed_tiff_goes_into_the_result(
    model: hcflow.Model, tmp_path: Path
) -> None:
    source, whole, down = (tmp_path / name for name in ("in.tif", "whole.png", "down.png"))
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Camera"
    _picture("RGB", 40, 24).save(source, exif=exif)
    large_file.convert(Job("downscale", OneModel(model)), str(source), str(down), "PNG")
    tags = Image.open(down).getexif()
    assert tags[0x010F] == "Camera"
    assert tags.get(0x0112, 1) == 1
    formats.write(files.read(source), whole)
    assert Image.open(whole).getexif()[0x010F] == "Camera"


def test_sixteen_bits_are_streamed_whole(model: hcflow.Model, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 1 << 16, (21, 34, 3)).astype(np.uint16)
    source, up = tmp_path / "in.tif", tmp_path / "up.tif"
    source.write_bytes(formats.encode(Photo(pixels), "TIFF"))
    large_file.convert(Job("upscale", OneModel(model)), str(source), str(up), "TIFF")
    np.testing.assert_array_equal(_pixels(up), model.upscale(pixels))


def test_a_seed_may_be_left_to_chance_by_strips_too_and_is_told(
    bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = tmp_path / "in.png"
    _picture("RGB", 8, 8).save(source)
    results = [tmp_path / f"{i}.png" for i in range(3)]
    options: dict[str, Any] = {"model": bundle, "strips": True, "tau": 1.0}
    with caplog.at_level(logging.INFO):
        for result in results[:2]:
            hcflow.upscale_file(source, result, seed=None, **options)
    assert (_pixels(results[0]) != _pixels(results[1])).any()
    *_, told = re.findall(r"seed (\d+)", caplog.text)
    hcflow.upscale_file(source, results[2], seed=np.int64(int(told)), **options)
    np.testing.assert_array_equal(_pixels(results[2]), _pixels(results[1]))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"tau": float("nan")}, "τ is nan"),
        ({"tau": "x"}, "τ is 'x'"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 1.5}, "seed is 1.5"),
    ],
)
def test_a_wrong_option_leaves_nothing_by_strips(
    bundle: Path, tmp_path: Path, option: dict[str, Any], message: str
) -> None:
    source = tmp_path / "in.png"
    _picture("RGB", 8, 8).save(source)
    with pytest.raises(ParameterError, match=re.escape(message)):
        hcflow.upscale_file(source, tmp_path / "out.png", model=bundle, strips=True, **option)
    assert list(tmp_path.iterdir()) == [source]


def test_a_cut_off_file_is_one_line(model: hcflow.Model, tmp_path: Path) -> None:
    source = tmp_path / "in.png"
    _picture("RGB", 64, 64).save(source)
    source.write_bytes(source.read_bytes()[:-2000])
    with pytest.raises(ImageError, match=r"in.png' is damaged: ") as caught:
        large_file.convert(
            Job("downscale", OneModel(model)), str(source), str(tmp_path / "out.png"), "PNG"
        )
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.png").exists()


def test_what_was_asked_for_and_cannot_be_streamed_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "in.gif"
    _picture("RGB", 4, 4).save(source)
    asked = Job("upscale", Models({}), strips=True)
    with pytest.raises(ImageError, match=r"--strips cannot read .*in.gif"):
        streamable.wants_strips(str(source), OUT, asked, "PNG")
    with pytest.raises(ImageError, match="--strips cannot write BMP"):
        streamable.wants_strips(str(source), OUT, asked, "BMP")
    assert strips.probe(tmp_path / "nowhere") is None


@pytest.mark.parametrize("mode", ["CMYK", "LAB", "F", "I"])
def test_colour_that_libvips_reads_otherwise_is_not_streamed(
    tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = str(tmp_path / "in.tif")
    Image.new(mode, (4, 4)).save(source)
    monkeypatch.setattr(streamable, "LARGE", {"upscale": 1})
    job = Job("upscale", Models({}))
    assert not streamable.wants_strips(source, OUT, job, "PNG")


def test_a_pipe_is_written_to_and_never_replaced_by_a_file(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, pipe = tmp_path / "in.png", tmp_path / "out.png"
    _picture("RGB", 8, 8).save(source)
    os.mkfifo(pipe)
    with pytest.raises(FileError, match=r"cannot write .*out.png': it is not a file"):
        hcflow.upscale_file(source, pipe, model=bundle, strips=True)
    monkeypatch.setattr(streamable, "LARGE", {"upscale": 1})
    reader = subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE)
    hcflow.upscale_file(source, pipe, model=bundle)
    received, _ = reader.communicate(timeout=60)
    assert files.decode(received, "x").size == (32, 32)
    assert pipe.is_fifo()


def test_names_that_are_not_utf8_are_left_to_pillow(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streamable, "LARGE", {"upscale": 1})
    names = (b"/a", b"/\xe9.png", b"/\xea.png")
    source, odd, twice = (os.fsdecode(bytes(tmp_path) + name) for name in names)
    _picture("RGB", 8, 8).save(source, "PNG")
    assert strips.probe(source) == ("PNG", 8, 8)
    hcflow.upscale_file(source, odd, model=bundle)
    assert strips.probe(odd) is None
    hcflow.upscale_file(odd, twice, model=bundle)
    assert files.read(twice).size == (128, 128)
    with pytest.raises(FileError, match="its name is not UTF-8"):
        hcflow.upscale_file(source, odd, model=bundle, strips=True)


def test_a_full_disk_is_told_as_such_by_strips(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.write_bytes(bytes(12))
    with pytest.raises(OSError, match="No space left") as caught:
        strips.encode(raw, Form(2, 2, 3, np.dtype(np.uint8)), Path("/dev/full"), "PNG")
    assert caught.value.errno in file.FULL


@pytest.mark.filterwarnings("error")
def test_an_image_beyond_every_limit_is_still_taken_by_strips(tmp_path: Path) -> None:
    source = tmp_path / "in.png"
    source.write_bytes(png(20_000, 20_000, 8, 2))
    assert strips.probe(source) == ("PNG", 20_000, 20_000)
    asked = Job("upscale", Models({}), strips=True)
    assert streamable.wants_strips(str(source), OUT, asked, "PNG")
    assert not streamable.wants_strips(str(source), OUT, replace(asked, strips=None), "PNG")
    with pytest.raises(ImageError, match="has 20000×20000 pixels, the limit is 178956970"):
        hcflow.upscale_file(source, tmp_path / "out.png")


@pytest.mark.parametrize("channels", [4, 5])
def test_a_tiff_with_channels_that_are_no_colour_is_not_streamed(
    tmp_path: Path, channels: int
) -> None:
    source = tmp_path / "in.tif"
    data = tiff(4, 2, [8] * channels, 2, [bytes(range(8 * channels))], extra=0)
    source.write_bytes(data)
    assert strips.probe(source) is None
    assert files.decode(data, "x").image.mode == "RGB"
    source.write_bytes(tiff(4, 2, [8] * 4, 2, [bytes(range(32))], extra=2))  # alpha
    assert strips.probe(source) == ("TIFF", 4, 2)


def test_luma_and_chroma_in_a_tiff_are_not_taken_for_red_green_and_blue(tmp_path: Path) -> None:
    source = tmp_path / "in.tif"
    source.write_bytes(tiff(4, 2, [8, 8, 8], 6, [bytes(range(24))]))
    assert strips.probe(source) is None
    _picture("RGB", 4, 2).convert("YCbCr").save(source, compression="jpeg")
    assert strips.probe(source) == ("TIFF", 4, 2)  # which libvips has JPEG turn into RGB


def test_avif_is_not_streamed_where_its_chroma_would_be_other_colours(tmp_path: Path) -> None:
    source = tmp_path / "in.avif"
    _picture("RGB", 16, 16).save(source, subsampling="4:2:0")
    assert strips.probe(source) is None


def test_a_long_name_is_left_to_what_needs_no_journal(tmp_path: Path) -> None:
    source = tmp_path / "in.png"
    _picture("RGB", 8, 8).save(source)
    long = str(tmp_path / ("長" * 80 + ".png"))
    asked = Job("upscale", Models({}))
    with pytest.raises(FileError, match="its name is longer than 240 bytes"):
        streamable.wants_strips(str(source), long, replace(asked, strips=True), "PNG")
    streamable.LARGE["upscale"], before = 1, streamable.LARGE["upscale"]
    try:
        assert not streamable.wants_strips(str(source), long, asked, "PNG")
        assert streamable.wants_strips(str(source), OUT, asked, "PNG")
    finally:
        streamable.LARGE["upscale"] = before


def test_alpha_of_a_tall_image_is_the_same_by_strips(model: hcflow.Model, tmp_path: Path) -> None:
    source, down = tmp_path / "in.png", tmp_path / "down.png"
    _picture("RGBA", 60, 800).save(source)
    large_file.convert(Job("downscale", OneModel(model)), str(source), str(down), "PNG")
    whole = model.downscale(files.read(source).image)
    np.testing.assert_array_equal(_pixels(down), np.asarray(whole))
