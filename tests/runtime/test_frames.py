"""Files of several frames: every frame converted as a still is, and timing and repeats kept."""

from __future__ import annotations

import functools
import io
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import GifImagePlugin, Image, ImageCms

import hcflow
from runtime import Model
from runtime.errors import Cancelled, ImageError
from runtime.images.codecs import files, formats, vips
from runtime.images.codecs.formats import Photo
from runtime.images.codecs.metadata import provenance
from runtime.images.frames import tiff_pages
from runtime.images.frames.changed import changed_box
from runtime.images.pixels import palette
from tests.support.bundles import write_bundle

DURATIONS = [100, 40, 70, 200, 50]
Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "tiny", default_tau=0.5)


@pytest.fixture(scope="module")
def model(bundle: Path) -> Model:
    return hcflow.load(bundle)


def _frames(mode: str = "RGB") -> list[Image.Image]:
    """Four frames of few colours, with holes in RGBA, and the second one again."""
    frames = []
    for index in range(4):
        pixels = np.full((12, 16, 4), 255, np.uint8)
        pixels[..., :3] = [60 * index, 90, 200 - 50 * index]
        pixels[index : index + 4, 2:8, :3] = 255
        if mode == "RGBA":
            pixels[:3, index : index + 4, 3] = 0
        frames.append(Image.fromarray(pixels).convert(mode))
    return [*frames, frames[1].copy()]


def _write(path: Path, frames: Sequence[Image.Image], loop: int | None = 3, **options: Any) -> Path:
    options |= {} if loop is None else {"loop": loop}
    options |= {"lossless": True} if path.suffix == ".webp" else {}
    options.setdefault("duration", DURATIONS)
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)
    return path


def _read(path: Path) -> list[tuple[Pixels, float]]:
    """The frames of a file as RGBA, and their durations."""
    frames = []
    with Image.open(path) as image:
        for index in range(getattr(image, "n_frames", 1)):
            image.seek(index)
            image.load()
            frames.append((np.asarray(image.convert("RGBA")), image.info.get("duration", 0)))
    return frames


def _rgba(image: Image.Image) -> Pixels:
    return np.asarray(image.convert("RGBA"))


def _visible(pixels: Pixels) -> Pixels:
    """Without the colours under full transparency, which animated WebP and GIF do not hold."""
    return np.where(pixels[..., 3:] == 0, 0, pixels)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_every_frame_is_what_its_still_becomes(
    tmp_path: Path, bundle: Path, model: Model, suffix: str, mode: str
) -> None:
    source = _write(tmp_path / f"in{suffix}", _frames(mode))
    for result in ("out.png", "out.webp"):
        facts = hcflow.upscale_file(source, tmp_path / result, model=bundle, seed=7)
        assert facts["frames"] == 5
        made = _read(tmp_path / result)
        assert [duration for _, duration in made] == DURATIONS
        for (shown, _), (pixels, _) in zip(_read(source), made, strict=True):
            still = Image.fromarray(shown).convert(mode)
            expected = _rgba(model.upscale(still, seed=7))
            np.testing.assert_array_equal(_visible(pixels), _visible(expected))


def test_frames_of_a_palette_and_of_grays_are_computed_in_colour_and_gray(
    tmp_path: Path, bundle: Path, model: Model
) -> None:
    grays = [frame.convert("L") for frame in _frames()]
    hcflow.upscale_file(_write(tmp_path / "in.png", grays), tmp_path / "out.png", model=bundle)
    with Image.open(tmp_path / "out.png") as made:
        assert made.mode == "L"
        np.testing.assert_array_equal(made, model.upscale(grays[0]))


def test_a_drawn_seed_is_drawn_once(tmp_path: Path, bundle: Path) -> None:
    frames = [*_frames()[:2], _frames()[0]]
    source = _write(tmp_path / "in.png", frames, duration=50)
    hcflow.upscale_file(source, tmp_path / "out.png", model=bundle, seed=None)
    first, _, last = (pixels for pixels, _ in _read(tmp_path / "out.png"))
    np.testing.assert_array_equal(first, last)


def test_equal_frames_are_computed_once(
    tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed = []
    upscale = Model.upscale

    def counted(self: Model, image: Any, **options: Any) -> Any:
        computed.append(image)
        return upscale(self, image, **options)

    monkeypatch.setattr(Model, "upscale", counted)
    frames = _frames()
    source = _write(tmp_path / "in.png", [*frames, *frames], duration=20)
    facts = hcflow.upscale_file(source, tmp_path / "out.png", model=bundle)
    assert (facts["frames"], len(computed)) == (10, 4)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_gif_shows_the_frames_in_a_palette(
    tmp_path: Path, bundle: Path, model: Model, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    source = _write(tmp_path / "in.gif", _frames(mode))
    hcflow.upscale_file(source, tmp_path / "out.gif", model=bundle, tau=0)
    made = _read(tmp_path / "out.gif")
    assert [duration for _, duration in made] == DURATIONS
    for (shown, _), (pixels, _) in zip(_read(source), made, strict=True):
        expected = _rgba(model.upscale(Image.fromarray(shown).convert(mode), tau=0))
        opaque = expected[..., 3] >= 128
        np.testing.assert_array_equal(pixels[..., 3] == 255, opaque)
        off = pixels[opaque].astype(int) - expected[opaque]
        assert np.abs(off[:, :3]).mean() < 8
    assert "in.gif': GIF keeps 256 colours a frame" in caplog.text


@pytest.mark.parametrize(
    ("suffix", "loop", "plays"),
    [(".gif", None, 1), (".gif", 0, 0), (".gif", 2, 3), (".png", 2, 2), (".webp", 0, 0)],
)
def test_repeats_are_counted_alike_in_every_format(
    tmp_path: Path, bundle: Path, suffix: str, loop: int | None, plays: int
) -> None:
    """A GIF states how often it is repeated, the others how often they are played."""
    source = _write(tmp_path / f"in{suffix}", _frames(), loop)
    for result, expected in (
        (".gif", plays - 1 if plays else 0),
        (".png", plays),
        (".webp", plays),
    ):
        hcflow.upscale_file(source, tmp_path / f"out{result}", model=bundle)
        with Image.open(tmp_path / f"out{result}") as made:
            assert made.info.get("loop", 0) == expected
            assert ("loop" in made.info) == (result != ".gif" or plays != 1)


def test_delays_in_a_gif_do_not_drift(tmp_path: Path, bundle: Path) -> None:
    frames = [Image.new("RGB", (8, 8), (index * 20, 0, 0)) for index in range(10)]
    source = _write(tmp_path / "in.webp", frames, duration=33)
    hcflow.upscale_file(source, tmp_path / "out.gif", model=bundle)
    assert sum(duration for _, duration in _read(tmp_path / "out.gif")) == 330


def test_disposal_is_done_before_frames_are_computed(
    tmp_path: Path, bundle: Path, model: Model
) -> None:
    """A frame that covers a part of the last one, and one that is put on a cleared canvas."""
    frames = _frames("RGBA")[:3]
    for disposal in (0, 1, 2):
        source = _write(tmp_path / "in.png", frames, duration=50, disposal=disposal, blend=1)
        hcflow.upscale_file(source, tmp_path / "out.png", model=bundle)
        for (shown, _), (pixels, _) in zip(_read(source), _read(tmp_path / "out.png"), strict=True):
            np.testing.assert_array_equal(pixels, _rgba(model.upscale(Image.fromarray(shown))))


def test_a_gif_may_begin_with_a_frame_that_covers_a_part(tmp_path: Path, bundle: Path) -> None:
    part = Image.new("P", (4, 4), 1)
    part.putpalette([0, 0, 0, 255, 0, 0])
    head = io.BytesIO()
    Image.new("L", (10, 10)).save(head, "GIF")
    data = head.getvalue()[: head.getvalue().index(b",")]
    for place in ((3, 3), (1, 1)):
        parts = GifImagePlugin.getdata(part, place, duration=50, include_color_table=True)
        data += b"".join(parts)
    (tmp_path / "in.gif").write_bytes(data + b";")
    hcflow.upscale_file(tmp_path / "in.gif", tmp_path / "out.png", model=bundle)
    assert len(_read(tmp_path / "out.png")) == 2


def test_a_poster_stays_one_in_png_and_is_left_out_elsewhere(tmp_path: Path, bundle: Path) -> None:
    frames = _frames()[:3]
    source = _write(tmp_path / "in.png", frames, duration=[50, 60], default_image=True)
    hcflow.upscale_file(source, tmp_path / "out.png", model=bundle)
    hcflow.upscale_file(source, tmp_path / "out.webp", model=bundle)
    with Image.open(tmp_path / "out.png") as made:
        assert (made.n_frames, made.default_image) == (3, True)
    assert [duration for _, duration in _read(tmp_path / "out.webp")] == [50, 60]


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_metadata_is_kept_and_frames_are_turned_upright(
    tmp_path: Path, bundle: Path, model: Model, suffix: str
) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Camera"
    frames = _frames()
    source = _write(tmp_path / f"in{suffix}", frames, exif=exif)
    hcflow.upscale_file(source, tmp_path / f"out{suffix}", model=bundle)
    with Image.open(tmp_path / f"out{suffix}") as made:
        assert (made.getexif().get(0x0112), made.getexif()[0x010F]) == (None, "Camera")
    for frame, (pixels, _) in zip(frames, _read(tmp_path / f"out{suffix}"), strict=True):
        upright = frame.transpose(Image.Transpose.ROTATE_270)
        np.testing.assert_array_equal(pixels, _rgba(model.upscale(upright)))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_a_downscaled_animation_records_its_size_and_upscales_to_it(
    tmp_path: Path, bundle: Path, suffix: str, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    frames = [frame.convert(mode).crop((0, 0, 15, 11)) for frame in _frames("RGBA")]
    source = _write(tmp_path / "in.png", frames)
    small = tmp_path / f"small{suffix}"
    assert hcflow.downscale_file(source, small, model=bundle)["size"] == [4, 3]
    record = provenance.extract(files.first_frame(small.read_bytes(), "it").xmp, "it")
    assert record is not None
    assert (record.width, record.height) == (15, 11)
    facts = hcflow.upscale_file(small, tmp_path / "large.png", model=bundle)
    assert facts == {"model": "tiny_x4", "size": [15, 11], "frames": 5}
    assert "edited" not in caplog.text
    edited = [frame.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for frame in _frames(mode)]
    _write(small, [frame.resize((4, 3)) for frame in edited], xmp=_packet(record), pnginfo=None)
    if suffix == ".webp":
        hcflow.upscale_file(small, tmp_path / "large.png", model=bundle)
        assert "was edited" in caplog.text


def _packet(record: provenance.Provenance) -> bytes:
    return provenance.embed(None, record)


def test_frames_take_any_size_and_quality(tmp_path: Path, bundle: Path) -> None:
    source = _write(tmp_path / "in.gif", _frames())
    facts = hcflow.upscale_file(source, tmp_path / "out.webp", model=bundle, scale=8, quality=50)
    assert (facts["size"], facts["frames"], facts["runs"]) == ([128, 96], 5, 2)
    hcflow.downscale_file(source, tmp_path / "small.webp", model=bundle, quality=50)
    record = provenance.extract(
        files.first_frame((tmp_path / "small.webp").read_bytes(), "it").xmp, "it"
    )
    assert record is not None
    assert record.pixels is None  # which a lossy file does not give back


def test_a_still_format_takes_the_first_frame_and_says_so(
    tmp_path: Path, bundle: Path, model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    source = _write(tmp_path / "in.png", _frames())
    hcflow.upscale_file(source, tmp_path / "out.bmp", model=bundle)
    with Image.open(tmp_path / "out.bmp") as made:
        np.testing.assert_array_equal(made, model.upscale(_frames()[0]))
    assert "in.png' has 5 frames: the first is used" in caplog.text


def test_frames_that_are_too_many_or_missing_are_one_error(tmp_path: Path, bundle: Path) -> None:
    source = _write(tmp_path / "in.png", _frames())
    message = r"in.png' has 5 frames of 16×12, 960 pixels in all, the limit is 900: raise --max-pix"
    with pytest.raises(ImageError, match=message):
        hcflow.upscale_file(source, tmp_path / "out.png", model=bundle, max_pixels=900)
    hcflow.upscale_file(source, tmp_path / "out.png", model=bundle, max_pixels=960)
    data = bytearray(source.read_bytes())
    at = data.index(b"acTL") + 4
    data[at : at + 4] = (9).to_bytes(4, "big")
    data[at + 8 : at + 12] = zlib.crc32(data[at - 4 : at + 8]).to_bytes(4, "big")
    source.write_bytes(data)
    before = (tmp_path / "out.png").read_bytes()
    with pytest.raises(ImageError, match=r"in.png' is damaged in frame 6 of 9"):
        hcflow.upscale_file(source, tmp_path / "out.png", model=bundle)
    source.write_bytes(_write(tmp_path / "in.gif", _frames()).read_bytes()[:-60])
    with pytest.raises(ImageError, match=r"in.png' is damaged"):
        hcflow.upscale_file(source, tmp_path / "out.png", model=bundle)
    assert (tmp_path / "out.png").read_bytes() == before
    facts = hcflow.upscale_file(source, tmp_path / "out.png", model=bundle, salvage=True)
    assert 0 < facts["frames"] < 5


def test_an_animation_is_cancelled_between_frames(tmp_path: Path, bundle: Path) -> None:
    calls = iter([False] * 6 + [True] * 100)
    source = _write(tmp_path / "in.gif", _frames())
    with pytest.raises(Cancelled):
        hcflow.upscale_file(source, tmp_path / "out.png", model=bundle, cancel=lambda: next(calls))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.gif"]


def test_model_upscale_takes_the_frame_that_a_pillow_image_is_at(
    tmp_path: Path, model: Model
) -> None:
    with Image.open(_write(tmp_path / "in.png", _frames())) as image:
        image.seek(2)
        np.testing.assert_array_equal(model.upscale(image), model.upscale(_frames()[2]))


def test_pages_of_a_tiff_are_converted_each_on_its_own(
    tmp_path: Path, bundle: Path, model: Model
) -> None:
    pages = [_frames()[0], _frames("RGBA")[1].resize((9, 5)), _frames()[2].convert("L")]
    data = [formats.encode(Photo(page, icc=_profile(n)), "TIFF") for n, page in enumerate(pages)]
    source = _joined(tmp_path / "in.tif", data)
    facts = hcflow.upscale_file(source, tmp_path / "out.tif", model=bundle)
    assert facts == {"model": "tiny_x4", "size": [64, 48], "frames": 3}
    with Image.open(tmp_path / "out.tif") as made:
        assert made.n_frames == 3
        for number, page in enumerate(pages):
            made.seek(number)
            assert made.info["icc_profile"] == _profile(number)
            np.testing.assert_array_equal(made, model.upscale(page))


def test_downscaled_pages_have_their_own_records(tmp_path: Path, bundle: Path) -> None:
    pages = [_frames()[0].resize(size) for size in ((15, 11), (23, 6))]
    source = _joined(tmp_path / "in.tif", [formats.encode(Photo(page), "TIFF") for page in pages])
    hcflow.downscale_file(source, tmp_path / "small.tif", model=bundle)
    hcflow.upscale_file(tmp_path / "small.tif", tmp_path / "large.tif", model=bundle)
    with Image.open(tmp_path / "large.tif") as made:
        sizes = []
        for number in range(made.n_frames):
            made.seek(number)
            sizes.append(made.size)
    assert sizes == [(15, 11), (23, 6)]


@pytest.mark.skipif(vips.find() is None, reason="pyvips is not installed")
def test_pages_of_16_bits_keep_them(tmp_path: Path, bundle: Path, model: Model) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (6, 7, 3), np.uint16)
    data = [formats.encode(Photo(deep), "TIFF"), formats.encode(Photo(_frames()[0]), "TIFF")]
    source = _joined(tmp_path / "in.tif", data)
    hcflow.upscale_file(source, tmp_path / "out.tif", model=bundle)
    made = (tmp_path / "out.tif").read_bytes()
    first = tiff_pages.pages(io.BytesIO(made), "it")[0]
    photo = files.decode(tiff_pages.single(made, first), "it")
    np.testing.assert_array_equal(photo.image, model.upscale(deep))


def test_a_page_that_cannot_be_read_is_named(tmp_path: Path, bundle: Path) -> None:
    good = formats.encode(Photo(_frames()[0]), "TIFF")
    source = _joined(tmp_path / "in.tif", [good, good])
    data = bytearray(source.read_bytes())
    at = data.rindex(b"\x78\x9c")  # the pixels of the second page
    data[at : at + 20] = bytes(20)
    source.write_bytes(data)
    with pytest.raises(ImageError, match=r"in.tif', page 2 is damaged"):
        hcflow.upscale_file(source, tmp_path / "out.tif", model=bundle)
    assert not (tmp_path / "out.tif").exists()


def test_reduced_copies_are_no_pages_and_a_chain_that_loops_ends(tmp_path: Path) -> None:
    small = Image.new("L", (4, 4))
    reduced = Image.Exif()
    reduced[254] = 1
    small.save(tmp_path / "small.tif", exif=reduced, tiffinfo={254: 1})
    whole = formats.encode(Photo(_frames()[0]), "TIFF")
    path = _joined(tmp_path / "in.tif", [whole, (tmp_path / "small.tif").read_bytes(), whole])
    data = bytearray(path.read_bytes())
    found = tiff_pages.pages(io.BytesIO(data), "it")
    assert [(page.width, page.height) for page in found] == [(16, 12), (16, 12)]
    data[found[1].next_at : found[1].next_at + 4] = data[4:8]
    assert tiff_pages.pages(io.BytesIO(data), "it") == found


@pytest.mark.parametrize("big", [False, True])
def test_pages_are_read_from_either_byte_order_and_width(tmp_path: Path, big: bool) -> None:
    path = tmp_path / "in.tif"
    frames = _frames()
    frames[0].save(path, save_all=True, append_images=frames[1:], big_tiff=big)
    data = path.read_bytes()
    found = tiff_pages.pages(io.BytesIO(data), "it")
    for page, frame in zip(found, frames, strict=True):
        photo = files.decode(tiff_pages.single(data, page), "it")
        np.testing.assert_array_equal(photo.image, frame)


def test_few_colours_are_kept_exactly_in_a_palette() -> None:
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (255, 3), np.uint8)
    pixels = np.dstack([colours[rng.integers(0, 255, (40, 30))], np.full((40, 30), 255, np.uint8)])
    pixels[:5, :, 3] = 0
    image = Image.fromarray(pixels)
    back = np.asarray(palette.reduced(image).convert("RGBA"))
    np.testing.assert_array_equal(back[..., 3], pixels[..., 3])
    np.testing.assert_array_equal(back[5:], pixels[5:])
    opaque = image.convert("RGB")
    np.testing.assert_array_equal(palette.reduced(opaque).convert("RGB"), opaque)


def test_equal_frames_differ_in_one_pixel_at_least() -> None:
    frame = _frames("RGBA")[0]
    assert changed_box(frame, frame) == (0, 0, 1, 1)
    other = frame.copy()
    other.putpixel((3, 4), (*frame.getpixel((3, 4))[:3], 9))
    assert changed_box(frame, other) == (3, 4, 4, 5)


@functools.cache
def _profile(number: int) -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB", 5000 + number)).tobytes()


def _joined(path: Path, pages: Sequence[bytes]) -> Path:
    with path.open("w+b") as file:
        joiner = tiff_pages.Joiner(file, "it")
        for page in pages:
            joiner.append(page)
    return path


def test_a_still_becomes_a_gif_and_the_loss_is_said(
    tmp_path: Path, bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _frames()[0].save(tmp_path / "in.png")
    hcflow.upscale_file(tmp_path / "in.png", tmp_path / "out.gif", model=bundle)
    with Image.open(tmp_path / "out.gif") as made:
        assert (made.size, made.mode) == ((64, 48), "P")
    assert caplog.text.count("in.png': GIF keeps 256 colours") == 1
