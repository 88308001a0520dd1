"""An image sent over HTTP comes back as the file of `hcflow upscale` would be."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import httpx
import numpy as np
import pytest
from PIL import Image

from hcflow.serving.limits import Limits, RefusedError
from hcflow.serving.options import format_accepted
from runtime.convert.file import convert_data
from runtime.convert.job import Job
from runtime.convert.restore import restoration
from runtime.errors import SizeError
from tests.support.serving import Running, noise, pixels, png, running


def _is_error(answer: httpx.Response, status: int, text: str) -> bool:
    assert (answer.status_code, list(answer.json())) == (status, ["error"]), answer.text
    assert text in answer.json()["error"]
    return True


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_an_answer_has_the_bytes_of_model_upscale(server: Running, channels: int) -> None:
    picture = noise(9, 13, channels)
    answer = server.client.post("/v1/upscale", content=png(picture), params={"seed": 5})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert (answer.headers["hcflow-model"], answer.headers["hcflow-seed"]) == ("tiny_x4", "5")
    image = Image.fromarray(picture[..., 0] if channels == 1 else picture)
    assert np.array_equal(pixels(answer.content), server.model.upscale(image, seed=5))


def test_an_answer_is_the_file_that_a_command_writes_but_for_the_effort(server: Running) -> None:
    exif = Image.Exif()
    exif[0x010E] = "a picture"
    data = png(noise(8, 8), exif=exif, dpi=(300, 300), icc_profile=b"not checked here")
    job = Job("upscale", server.service.models, png_level=1)
    expected, _ = convert_data(data, "x", "PNG", job, contextlib.nullcontext())
    answer = server.client.post("/v1/upscale", content=data)
    assert answer.content == expected
    assert b"not checked here" in Image.open(io.BytesIO(answer.content)).info["icc_profile"]


def test_sixteen_bits_stay_sixteen_bits(server: Running) -> None:
    gray = (noise(8, 8, 1)[..., 0].astype(np.uint16) * 257) ^ 3
    answer = server.client.post("/v1/upscale", content=png(gray[..., None]))
    assert np.array_equal(
        pixels(answer.content), np.asarray(server.model.upscale(Image.fromarray(gray)))
    )
    assert pixels(answer.content).dtype == np.uint16


def test_what_was_downscaled_here_comes_back_at_its_exact_size(server: Running) -> None:
    small = server.client.post("/v1/downscale", content=png(noise(30, 41)))
    assert pixels(small.content).shape == (8, 11, 3)
    large = server.client.post("/v1/upscale", content=small.content)
    assert pixels(large.content).shape == (30, 41, 3)


@pytest.mark.parametrize(
    ("asked", "size"),
    [
        ({}, (40, 48)),
        ({"scale": 2}, (20, 24)),
        ({"size": "30x20"}, (20, 30)),
        ({"width": 24}, (20, 24)),
        ({"scale": 8}, (80, 96)),
        ({"tau": 0, "seed": 2**64 - 1, "png_level": 9}, (40, 48)),
    ],
)
def test_options_come_in_the_query(
    server: Running, asked: dict[str, Any], size: tuple[int, int]
) -> None:
    answer = server.client.post("/v1/upscale", content=png(noise(10, 12)), params=asked)
    assert pixels(answer.content).shape[:2] == size


def test_the_file_of_a_form_is_taken_whatever_it_is_called(server: Running) -> None:
    data = png(noise(4, 4))
    expected = server.client.post("/v1/upscale", content=data).content
    for name in ("x.png", "../../etc/passwd", "a\r\nb", "ä" * 300):
        answer = server.client.post("/v1/upscale", files={"image": (name, data)})
        assert answer.content == expected


@pytest.mark.parametrize(
    ("accept", "format_name"),
    [
        ([], "PNG"),
        (["*/*"], "PNG"),
        (["image/*"], "PNG"),
        (["image/webp"], "WEBP"),
        (["image/avif,image/webp;q=0.9"], "AVIF"),
        (["image/png;q=0.5, image/tiff"], "TIFF"),
        (["text/html", "image/jpeg;q=0.1"], "JPEG"),
        (["*/*;q=0.1, image/png;q=0"], "WEBP"),
        (["text/html;q=x"], None),
        ([";;,,;q=1"], None),
    ],
)
def test_accept_chooses_the_format(accept: list[str], format_name: str | None) -> None:
    if format_name is not None:
        assert format_accepted(accept) == format_name
        return
    with pytest.raises(RefusedError) as refused:
        format_accepted(accept)
    assert refused.value.status == 406


def test_the_format_accepted_is_the_format_sent(server: Running) -> None:
    for media, name in (("image/webp", "WEBP"), ("image/tiff", "TIFF"), ("image/jpeg", "JPEG")):
        answer = server.client.post(
            "/v1/upscale", content=png(noise(4, 4)), headers={"accept": media}
        )
        assert answer.headers["content-type"] == media
        assert Image.open(io.BytesIO(answer.content)).format == name


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("tau=-1", "tau"),
        ("tau=nan", "tau"),
        ("tau=inf", "tau"),
        ("seed=-1", "seed"),
        ("seed=18446744073709551616", "seed"),
        ("size=0x4", "size"),
        ("size=4x4&scale=2", "give one of them"),
        ("scale=0", "scale"),
        ("width=1&height=1", "give one of them"),
        ("quality=101", "quality"),
        ("quality=50", "PNG has none"),
        ("png_level=10", "png_level"),
        ("model=../../etc", "not served here"),
        ("model=sr_x4", "not served here"),
        ("unknown=1", "unknown"),
        ("scale=100", "too large"),
        ("scale=1e300", "below 1000000"),
        ("width=1" + "0" * 400, "too large"),
        ("height=1" + "0" * 400, "too large"),
        ("max_side=1" + "0" * 400, "too large"),
        ("size=999999999x999999999", "too large"),
    ],
)
def test_a_bad_option_is_422_and_named(server: Running, query: str, text: str) -> None:
    answer = server.client.post(f"/v1/upscale?{query}", content=png(noise(4, 4)))
    assert _is_error(answer, 422, text)


@pytest.mark.parametrize(
    "body", [b"", b"hello", b"<svg/>", b"%!PS-Adobe", b"\0" * 1000, png(noise(4, 4))[:20]]
)
def test_what_is_no_image_is_415(server: Running, body: bytes) -> None:
    assert server.client.post("/v1/upscale", content=body).status_code == 415


def test_an_image_that_is_damaged_is_422(server: Running) -> None:
    answer = server.client.post("/v1/upscale", content=png(noise(64, 64))[:5000])
    assert answer.status_code == 422


def test_a_form_with_no_file_or_too_much_is_refused(server: Running) -> None:
    data = png(noise(4, 4))
    post = server.client.post
    assert post("/v1/upscale", files={"image": b""}).status_code == 415
    assert _is_error(post("/v1/upscale", files={"image": data, "file": data}), 422, "2 files")
    assert _is_error(
        post("/v1/upscale", files={"image": data}, data={"tau": "0"}), 422, "into the query"
    )
    many = [(f"x{i}", b"") for i in range(1000)]
    assert _is_error(post("/v1/upscale", files=many), 422, "more than 16 parts")
    kind = {"content-type": "multipart/form-data"}
    assert post("/v1/upscale", content=data, headers=kind).status_code == 415
    kind = {"content-type": "multipart/form-data; boundary=x"}
    assert post("/v1/upscale", content=data, headers=kind).status_code == 415
    assert post("/v1/upscale", content=b"--x\r\nA", headers=kind).status_code == 415


def test_compressed_bodies_are_not_opened(server: Running) -> None:
    answer = server.client.post(
        "/v1/upscale", content=png(noise(4, 4)), headers={"content-encoding": "gzip"}
    )
    assert _is_error(answer, 415, "compressed")


def test_pixels_are_counted_by_the_header_before_they_are_decoded(server: Running) -> None:
    bomb = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(bomb, "PNG")
    answer = server.client.post("/v1/upscale", content=bomb.getvalue())
    assert _is_error(answer, 413, "30000×30000 pixels, the limit is 4194304: send a smaller")
    small = png(noise(600, 600))
    assert _is_error(
        server.client.post("/v1/upscale?scale=16", content=small), 413, "9600×9600 pixels"
    )


def test_slow_formats_hold_fewer_pixels(server: Running) -> None:
    data = png(noise(800, 800))
    accept = {"accept": "image/webp"}
    answer = server.client.post("/v1/upscale", content=data, headers=accept)
    assert _is_error(answer, 413, "the limit is 524288")
    assert server.client.post("/v1/downscale", content=data, headers=accept).status_code == 200


def test_an_animation_beyond_the_limit_is_413(server: Running) -> None:
    frames = [Image.new("L", (1000, 1000), i) for i in range(6)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    assert _is_error(server.client.post("/v1/upscale", content=file.getvalue()), 413, "6 frames")


@pytest.fixture
def tight(tmp_path: Path) -> Iterator[Running]:
    """A server of little room."""
    with running(tmp_path / "tiny", Limits(hr_pixels=40_000)) as made:
        yield made


def _pages(*sizes: tuple[int, int], format_name: str = "TIFF", **options: Any) -> bytes:
    """A file of pages or frames of these widths and heights, no two alike."""
    first, *others = [Image.new("RGB", size, (i, 40, 0)) for i, size in enumerate(sizes)]
    file = io.BytesIO()
    first.save(file, format_name, save_all=True, append_images=others, **options)
    return file.getvalue()


TIFF = {"accept": "image/tiff"}


@pytest.mark.parametrize(
    ("path", "sizes"),
    [
        ("/v1/upscale", [(4, 4), (100, 100)]),
        ("/v1/upscale", [(40, 40)] * 2),
        ("/v1/upscale", [(4, 4)] * 200),
        ("/v1/upscale?scale=16", [(4, 4), (49, 49)]),
        ("/v1/upscale?scale=16", [(10, 10)] * 2),
        ("/v1/upscale?width=160", [(10, 10)] * 2),
        ("/v1/downscale", [(100, 100)] * 5),
    ],
)
def test_pages_are_bounded_all_together(
    tight: Running, path: str, sizes: list[tuple[int, int]]
) -> None:
    answer = tight.client.post(path, content=_pages(*sizes), headers=TIFF)
    assert _is_error(answer, 413, "the limit is")
    assert b'stage="compute"' not in tight.service.metrics.text()  # nothing has begun


def test_frames_of_an_animation_are_bounded_at_the_size_they_are_computed(tight: Running) -> None:
    data = _pages(*[(10, 10)] * 2, format_name="PNG")
    assert tight.client.post("/v1/upscale", content=data).status_code == 200
    assert _is_error(tight.client.post("/v1/upscale?scale=16", content=data), 413, "2 frames")


def test_pages_within_the_limit_are_all_converted(tight: Running) -> None:
    data = _pages((10, 10), (5, 9), (4, 4))
    answer = tight.client.post("/v1/upscale", content=data, headers=TIFF)
    assert Image.open(io.BytesIO(answer.content)).n_frames == 3  # type: ignore[attr-defined]
    first = tight.client.post("/v1/upscale", content=_pages((10, 10), (100, 100)))
    assert pixels(first.content).shape == (40, 40, 3)  # a PNG holds no other page


def test_a_picture_on_its_side_is_bounded_at_the_size_it_is_computed(tight: Running) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    data = png(noise(15, 60), exif=turned)  # upright 15×60, which runs twice for 200×60
    post = tight.client.post
    assert _is_error(post("/v1/upscale?size=200x60", content=data), 413, "240×960 pixels")
    assert pixels(post("/v1/upscale?size=60x200", content=data).content).shape == (200, 60, 3)


@pytest.mark.parametrize(
    ("direction", "format_name", "where"),
    [("upscale", "TIFF", "x, page 3"), ("downscale", "TIFF", "x, page 3"), ("upscale", "PNG", "x")],
)
def test_frames_are_counted_as_they_are_computed(
    tight: Running, direction: Literal["upscale", "downscale"], format_name: str, where: str
) -> None:
    most = 2 * 40 * 40 * (16 if direction == "upscale" else 1)
    job = Job(direction, tight.service.models, hr_pixels=most, round_trip=False)
    two, three = (_pages(*[(40, 40)] * n, format_name=format_name) for n in (2, 3))
    convert_data(two, "x", format_name, job, contextlib.nullcontext())
    with pytest.raises(SizeError, match=f"^{where} would be computed at"):
        convert_data(three, "x", format_name, job, contextlib.nullcontext())


def test_a_model_that_a_record_chooses_is_bounded_as_well(tight: Running) -> None:
    job = Job("upscale", tight.service.models, hr_pixels=40_000)
    assert restoration(job, (50, 50), None, "x").network_size == (200, 200)
    with pytest.raises(SizeError, match="204×200 pixels, the limit is 40000"):
        restoration(job, (51, 50), None, "x")


def test_errors_of_paths_and_methods_are_json_too(server: Running) -> None:
    assert _is_error(server.client.get("/v1/nothing"), 404, "")
    assert _is_error(server.client.get("/v1/upscale"), 405, "")
    assert _is_error(server.client.post("/v1/upscale/../../etc/passwd"), 404, "")


def test_the_description_says_what_can_be_asked(server: Running) -> None:
    described = server.client.get("/openapi.json").json()
    names = {each["name"] for each in described["paths"]["/v1/upscale"]["post"]["parameters"]}
    assert names >= {"model", "tau", "seed", "size", "scale"}
    page = server.client.get("/docs").text
    assert "POST /v1/upscale" in page
    assert "http" not in page.replace("https", "").replace("HTTP", "").split("<h2>", 1)[1]
