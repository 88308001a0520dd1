"""A small image knows how it was made: in every format with a place for it, and only as a hint."""

from __future__ import annotations

import io
import json
import logging
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import hcflow
from hcflow.models import shipped
from hcflow.models.load import Models
from runtime.convert import image, psnr, restore
from runtime.convert.job import Job
from runtime.errors import BundleError, ImageError
from runtime.images.codecs import files, formats, sixteen_bit, vips
from runtime.images.codecs.formats import Photo
from runtime.images.codecs.metadata import provenance
from runtime.images.codecs.metadata.provenance import Provenance
from tests.support.bundles import write_bundle
from tests.support.odd_files import tiff
from tests.support.one_model import OneModel

RECORD = Provenance("m", "0" * 64, 4, 13, 10, "fp32", 0.0, "1" * 64, 31.5)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> hcflow.Model:
    return hcflow.load(write_bundle(tmp_path_factory.mktemp("bundle") / "tiny"))


def test_a_model_that_cannot_be_built_costs_the_image_that_names_it_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of_shipped(name: str) -> Path:
        raise BundleError(f"'{name}' is not built yet, which needs PyTorch")

    monkeypatch.setattr(shipped, "of_shipped", of_shipped)
    monkeypatch.setattr(shipped, "READY", ())
    monkeypatch.setattr(shipped, "weights", lambda: {"theirs": tmp_path})
    monkeypatch.setattr(shipped, "_digest", lambda path: RECORD.checkpoint)
    with pytest.raises(ImageError, match=r"'x' was made by model .*: 'theirs' is not built yet"):
        restore.model_for(RECORD, Job("upscale", Models({})), "'x'")


def test_a_way_back_that_cannot_be_measured_leaves_the_reduction_be(
    model: hcflow.Model, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def upscale(*_: object, **__: object) -> None:
        raise ImageError("it needs about 640.0 GB")

    monkeypatch.setattr(hcflow.Model, "upscale", upscale)
    reduced = _downscale(model, _photo(), "PNG")
    assert reduced.round_trip_psnr_db is None
    assert files.decode(reduced.data, "x").size == (4, 3)
    assert "the round trip was not measured: it needs about 640.0 GB" in caplog.text


def _downscale(
    model: hcflow.Model, photo: Photo, format_name: str, *, round_trip: bool = True
) -> image.Downscaled:
    job = Job("downscale", OneModel(model), round_trip=round_trip)
    return image.downscale(job, model, photo, format_name)


def _upscale(job: Job, photo: Photo) -> Photo:
    (made,) = image.upscale(job, photo, restore.restoration_of(job, photo, "x"))
    return made


def _photo(mode: str = "RGB", size: tuple[int, int] = (13, 10)) -> Photo:
    values = np.random.default_rng(0).integers(0, 256, (*size[::-1], 4), np.uint8)
    return Photo(Image.fromarray(values).convert(mode))


@pytest.mark.parametrize("format_name", provenance.FORMATS)
def test_a_reduction_goes_back_to_its_size_through_every_format(
    model: hcflow.Model, format_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    reduced = _downscale(model, _photo(), format_name)
    small = files.decode(reduced.data, "x")
    record = provenance.extract(small.xmp, "x")
    assert record == reduced.record
    made = _upscale(Job("upscale", OneModel(model), "asked"), small)
    assert made.size == (13, 10)
    assert made.xmp is None
    truth = psnr.psnr(_photo().image, made.image)
    assert reduced.round_trip_psnr_db == pytest.approx(truth, abs=1e-3)
    assert caplog.text == ""


def test_formats_without_a_place_still_hold_the_picture(model: hcflow.Model) -> None:
    reduced = _downscale(model, _photo(), "BMP")
    assert reduced.record is None
    assert files.decode(reduced.data, "x").size == (4, 3)


def test_file_sizes_are_held_against_the_same_file_with_bicubic_in_it(model: hcflow.Model) -> None:
    photo = _photo()
    reduced = _downscale(model, photo, "PNG", round_trip=False)
    plain = Photo(psnr.bicubic(photo.image, 4, 3), xmp=files.decode(reduced.data, "x").xmp)
    assert reduced.bicubic_bytes == len(formats.encode(plain, "PNG"))
    assert reduced.round_trip_psnr_db is None


def test_edited_pixels_and_another_model_are_warnings(
    model: hcflow.Model, caplog: pytest.LogCaptureFixture
) -> None:
    small = files.decode(_downscale(model, _photo(), "PNG").data, "x")
    assert isinstance(small.image, Image.Image)
    record = provenance.extract(small.xmp, "x")
    assert record is not None
    small.image.putpixel((0, 0), (1, 2, 3))
    restore.check_pixels(record, small.image, "'x'")
    assert "'x' was edited after 'tiny_x4' made it" in caplog.text
    other = Provenance(**{**vars(record), "checkpoint": "f" * 64, "model": "theirs"})
    assert restore.size_for(other, (4, 3), model, None, "'x'") == (10, 13)
    assert "was made by model 'theirs' (checkpoint ffffffffffff…), which is not" in caplog.text
    assert restore.size_for(record, (5, 3), model, None, "'x'") is None
    assert "not what downscaling 13×10 by 4 gives" in caplog.text


def test_a_cached_model_is_found_by_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HCFLOW_CACHE", str(tmp_path))
    monkeypatch.setattr(shipped, "by_checkpoint", lambda _: None)
    assert restore.model_for(RECORD, Job("upscale", Models({})), "x") is None
    folder = write_bundle(tmp_path / "bundles" / "tiny")
    assert restore.model_for(RECORD, Job("upscale", Models({})), "x") == str(folder)
    assert restore.model_for(RECORD, Job("upscale", Models({}), "asked"), "x") == "asked"
    assert restore.model_for(None, Job("upscale", Models({})), "x") is None


def test_other_metadata_stays_beside_the_record() -> None:
    packet = provenance.embed(None, RECORD).replace(b"<rdf:RDF", b"<rdf:RDF theirs='1'")
    again = provenance.embed(packet, Provenance(**{**vars(RECORD), "scale": 8}))
    assert b"theirs='1'" in again
    assert again.count(b"hcflow:origin") == 1
    assert provenance.extract(again, "x") == Provenance(**{**vars(RECORD), "scale": 8})
    assert provenance.remove(provenance.embed(None, RECORD)) is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("scale", 1),
        ("checkpoint", "../.."),
        ("width", -1),
        ("model", "a\nb"),
        ("model", "a\x9b31mred"),
        ("tau", "hot"),
        ("tau", 10**400),
        ("round_trip_psnr_db", 10**400),
    ],
)
def test_a_forged_record_is_not_used(
    key: str, value: object, caplog: pytest.LogCaptureFixture
) -> None:
    text = json.dumps({**vars(RECORD), key: value})
    packet = provenance.embed(None, RECORD)
    start = packet.index(b'origin="') + 8
    forged = packet[:start] + text.replace('"', "&quot;").encode() + packet[packet.index(b'"/>') :]
    with caplog.at_level(logging.WARNING):
        assert provenance.extract(forged, "x") is None
    assert "the record of how the image was made is not used: x: $." in caplog.text


def test_a_packet_of_blanks_takes_no_time() -> None:
    start = time.monotonic()
    assert (
        provenance.extract(b" " * 100_000, "x") is None
    )  # looked for with a leading \s*: half a minute
    assert time.monotonic() - start < 1


def test_stated_pixel_dimensions_follow_the_image() -> None:
    exif = Image.Exif()
    exif[0x010F] = "Camera"
    exif.get_ifd(0x8769)[0xA002] = 4000
    photo = Photo(Image.new("RGB", (5, 7)), None, exif.tobytes(), b'<a tiff:Orientation="6"/>')
    for format_name in ("PNG", "JPEG", "WEBP", "AVIF"):
        again = files.decode(formats.encode(photo, format_name), "x")
        kept = Image.Exif()
        kept.load(again.exif or b"")
        assert (kept[0x010F], kept.get_ifd(0x8769)[0xA002]) == ("Camera", 5)
        assert again.xmp == b'<a tiff:Orientation="1"/>'


def test_files_are_converted_from_python(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "tiny")
    source, small, large = (tmp_path / name for name in ("in.png", "small.webp", "large.tif"))
    source.write_bytes(formats.encode(_photo(), "PNG"))
    report = hcflow.downscale_file(source, small, model=bundle, threads=1)
    assert (report["size"], report["origin_recorded"]) == ([4, 3], True)
    assert hcflow.upscale_file(small, large, model=bundle, tau=0.0)["size"] == [13, 10]
    with pytest.raises(hcflow.ParameterError, match="unknown option 'taus' of upscale_file"):
        hcflow.upscale_file(small, large, model=bundle, taus=0.0)
    with pytest.raises(hcflow.FileError, match="is the input itself: --force overwrites it"):
        hcflow.upscale_file(small, small, model=bundle)


@pytest.mark.parametrize("strips", [False, True])
def test_a_size_that_a_format_cannot_hold_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strips: bool
) -> None:
    if strips and vips.find() is None:
        pytest.skip("pyvips is not installed")
    bundle = write_bundle(tmp_path / "tiny")
    for name in ("upscale", "downscale"):
        monkeypatch.setattr(hcflow.Model, name, lambda *_, **__: pytest.fail("was computed"))
        monkeypatch.setattr(
            f"runtime.inference.streaming.{name}", lambda *_, **__: pytest.fail("was computed")
        )
    source = tmp_path / "in.png"
    Image.new("L", (4096, 1)).save(source)
    refused = "WEBP holds 16383 pixels a side, the result would have 16384×4: write PNG or TIFF"
    with pytest.raises(hcflow.ImageError, match=refused):
        hcflow.upscale_file(source, tmp_path / "out.webp", model=bundle, strips=strips)
    Image.new("L", (1, 4 * 65_500 + 1)).save(source)
    with pytest.raises(hcflow.ImageError, match="JPEG holds 65500 pixels a side"):
        hcflow.downscale_file(source, tmp_path / "out.jpg", model=bundle, strips=strips)


needs_vips = pytest.mark.skipif(vips.find() is None, reason="pyvips is not installed")


@needs_vips
@pytest.mark.parametrize(
    ("format_name", "channels"), [("PNG", 2), ("PNG", 3), ("PNG", 4), ("TIFF", 3), ("TIFF", 4)]
)
def test_sixteen_bits_of_colour_come_back_to_the_bit(format_name: str, channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 1 << 16, (7, 5, channels)).astype(np.uint16)
    data = formats.encode(Photo(pixels, xmp=provenance.embed(None, RECORD)), format_name)
    photo = files.decode(data, "x")
    assert photo.result_mode == sixteen_bit.MODES[channels]
    np.testing.assert_array_equal(photo.image, pixels)
    assert provenance.extract(photo.xmp, "x") == RECORD


@needs_vips
def test_the_exif_of_a_sixteen_bit_tiff_is_kept() -> None:
    exif = Image.Exif()
    exif[0x010F] = "Camera"
    buffer = io.BytesIO()
    Image.new("I;16", (4, 2)).save(buffer, "TIFF", exif=exif)
    # White at 0, so that it goes through libvips.
    data = buffer.getvalue().replace(b"\x06\x01\x03\0\1\0\0\0\1", b"\x06\x01\x03\0\1\0\0\0\0")
    photo = files.decode(data, "x")
    assert np.asarray(photo.image).max() == 65535
    again = files.decode(formats.encode(photo, "PNG"), "x")
    tags = Image.Exif()
    tags.load(again.exif or b"")
    assert tags[0x010F] == "Camera"


@needs_vips
def test_a_transparent_shade_of_sixteen_bits_becomes_alpha() -> None:
    buffer = io.BytesIO()
    values = np.array([[3, 4], [5, 60_000]], np.uint16)
    Image.fromarray(values).save(buffer, "PNG", transparency=4)
    photo = files.decode(buffer.getvalue(), "x")
    np.testing.assert_array_equal(photo.image[..., 0], values)
    np.testing.assert_array_equal(photo.image[..., 1], [[65535, 0], [65535, 65535]])


@needs_vips
def test_sixteen_bits_in_give_sixteen_bits_out(model: hcflow.Model) -> None:
    pixels = np.random.default_rng(0).integers(0, 1 << 16, (8, 12, 3)).astype(np.uint16)
    data = _downscale(model, Photo(pixels), "PNG").data
    small = files.decode(data, "x")
    large = _upscale(Job("upscale", OneModel(model), obey_record=False), small).image
    assert isinstance(large, np.ndarray)
    assert large.dtype == np.uint16
    assert (large % 257 != 0).any()  # more than 8 bits spread over 16


@needs_vips
def test_ten_bits_of_avif_are_read_as_such() -> None:
    pyvips = vips.require("this test")
    values = np.arange(30 * 20 * 3, dtype=np.uint16).reshape(20, 30, 3) * 36
    image = pyvips.Image.new_from_array(values).copy(interpretation="rgb16")
    data = image.write_to_buffer(".avif", bitdepth=10, lossless=True)
    photo = files.decode(data, "x")
    assert isinstance(photo.image, np.ndarray)
    assert np.abs(photo.image.astype(int) - values).max() < 64


@needs_vips
def test_sixteen_bits_in_planes_are_read_as_such() -> None:
    pixels = np.random.default_rng(0).integers(0, 1 << 16, (5, 7, 3)).astype("<u2")
    planes = [pixels[..., i].tobytes() for i in range(3)]
    np.testing.assert_array_equal(files.decode(tiff(7, 5, [16] * 3, 2, planes), "x").image, pixels)


@needs_vips
@pytest.mark.parametrize("format_name", ["PNG", "TIFF", "JPEG2000", "PPM"])
def test_gray_that_is_white_at_zero_comes_as_no_negative(format_name: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 1 << 16, (5, 7)).astype("<u2")
    photo = files.decode(tiff(7, 5, [16], 0, [pixels.tobytes()]), "x")
    again = files.decode(formats.encode(photo, format_name), "x")
    for each in (photo, again):
        np.testing.assert_array_equal(each.image, 65535 - pixels)


@pytest.mark.parametrize("photometric", [0, 1])
def test_gray_needs_libvips_only_where_white_is_zero(
    photometric: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vips, "find", lambda: None)
    data = tiff(2, 1, [16], photometric, [bytes(4)])
    if photometric == 1:
        assert files.decode(data, "x").result_mode == "I;16"
        return
    with pytest.raises(hcflow.ImageError, match="in gray that is white at 0, and Pillow would"):
        files.decode(data, "x")


def test_deep_colour_without_libvips_is_refused_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vips, "find", lambda: None)
    header = b"\xff\x4f\xff\x51\x00\x2f" + bytes(34) + b"\x00\x03" + b"\x0f\x01\x01" * 3
    assert sixteen_bit._jpeg2000_depth(header) == 16
    box = b"....av1C\x81\x00\x4c\x00"
    assert sixteen_bit._avif_depth(box) == 10
