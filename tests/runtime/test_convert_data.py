"""The bytes of a file are converted as the file is, and a size beyond a limit has its own error."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import runtime
from runtime.convert.file import convert_data, convert_file
from runtime.convert.job import Direction, Job
from runtime.errors import SizeError
from tests.support.bundles import write_bundle
from tests.support.one_model import OneModel


@pytest.fixture
def models(tmp_path: Path) -> OneModel:
    return OneModel(runtime.load(write_bundle(tmp_path / "tiny"), threads=1))


def _picture(mode: str) -> bytes:
    values = np.random.default_rng(0).integers(0, 256, (12, 16, len(mode)), np.uint8)
    image = Image.fromarray(values[..., 0] if mode == "L" else values, mode)
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x010E] = "a picture"
    image.save(file, "PNG", exif=exif, dpi=(300, 300))
    return file.getvalue()


@pytest.mark.parametrize("direction", ["upscale", "downscale"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_bytes_give_what_the_file_gives(
    models: OneModel, tmp_path: Path, direction: Direction, mode: str
) -> None:
    data = _picture(mode)
    (tmp_path / "in.png").write_bytes(data)
    job, output = Job(direction, models), tmp_path / "out.png"
    gate = contextlib.nullcontext()
    of_file = convert_file(str(tmp_path / "in.png"), str(output), "PNG", job, gate)
    result, facts = convert_data(data, "the body", "PNG", job, gate)
    assert result == output.read_bytes()
    assert facts == of_file


def test_the_bytes_of_an_animation_are_converted_frame_by_frame(models: OneModel) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=50)
    job = Job("upscale", models)
    result, facts = convert_data(file.getvalue(), "the body", "PNG", job, contextlib.nullcontext())
    assert Image.open(io.BytesIO(result)).n_frames == facts["frames"] == 2


def test_the_level_of_a_png_changes_its_bytes_and_no_pixel(models: OneModel) -> None:
    smooth = Image.fromarray(np.tile(np.arange(64, dtype=np.uint8), (64, 1)))
    file = io.BytesIO()
    smooth.save(file, "PNG")
    made = [
        convert_data(
            *(file.getvalue(), "x", "PNG", Job("upscale", models, png_level=level)),
            contextlib.nullcontext(),
        )[0]
        for level in (None, 6, 0)
    ]
    assert made[0] == made[1]
    assert len(made[2]) > 256 * 256 > len(made[0])
    pixels = [np.asarray(Image.open(io.BytesIO(data))) for data in made]
    assert np.array_equal(pixels[0], pixels[2])


def test_more_pixels_than_the_limit_are_a_size_error(models: OneModel) -> None:
    job = Job("upscale", models, max_pixels=100)
    with pytest.raises(SizeError, match="16×12 pixels, the limit is 100"):
        convert_data(_picture("RGB"), "the body", "PNG", job, contextlib.nullcontext())
