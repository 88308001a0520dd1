"""The judge of image files: what is right, what is a clean error; and it sees what is wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import runtime
from runtime.images.codecs import files, vips
from tests.images import judge as module
from tests.images.__main__ import main
from tests.images.judge import judge
from tests.support.bundles import write_bundle
from tests.support.odd_files import png

MODES = {
    "PNG": ("L", "LA", "RGB", "RGBA", "P", "1", "I;16"),
    "TIFF": ("L", "LA", "RGB", "RGBA", "P", "1", "I;16", "CMYK"),
    "JPEG": ("L", "RGB", "CMYK"),
    "WEBP": ("RGB", "RGBA"),
    "AVIF": ("RGB", "RGBA"),
    "JPEG2000": ("L", "LA", "RGB", "RGBA"),
    "BMP": ("L", "RGB", "P"),
    "PPM": ("L", "RGB"),
    "GIF": ("L", "P"),
    "TGA": ("L", "RGB", "RGBA", "P"),
}
TURNED = ("PNG", "JPEG", "WEBP", "TIFF")

needs_vips = pytest.mark.skipif(vips.find() is None, reason="pyvips is not installed")


def _picture(mode: str) -> Image.Image:
    """Blocks of colour under a slope of alpha, so that every turn of it shows."""
    blocks = np.random.default_rng(0).integers(0, 256, (4, 5, 4))
    values = np.kron(blocks, np.ones((12, 12, 1))).astype(np.uint8)
    values[..., 3] = np.linspace(60, 255, values.shape[1]).astype(np.uint8)
    image = Image.fromarray(values)
    if mode == "I;16":
        return Image.fromarray(values[..., 0].astype(np.uint16) * 257)
    return image.convert("RGB").convert(mode) if mode in ("CMYK", "P", "1") else image.convert(mode)


def _write(folder: Path) -> int:
    """Sound files of every format and mode, and turned ones; their number."""
    count = 0
    for format_name, modes in MODES.items():
        for mode in modes:
            name = f"{format_name}-{mode.replace(';', '')}.{format_name.lower()}"
            _picture(mode).save(folder / name, format_name)
            count += 1
        for orientation in range(2, 9) if format_name in TURNED else ():
            exif = Image.Exif()
            exif[274] = orientation
            name = f"{format_name}-turned-{orientation}.{format_name.lower()}"
            _picture("RGB").save(folder / name, format_name, exif=exif)
            count += 1
    return count


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> runtime.Model:
    return runtime.load(write_bundle(tmp_path_factory.mktemp("bundles") / "tiny"))


@needs_vips
@pytest.mark.slow
def test_a_folder_of_every_format_is_right_and_spoilt_files_are_clean_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    sound = _write(folder)
    (folder / "cut.jpg").write_bytes((folder / "JPEG-RGB.jpeg").read_bytes()[:900])
    (folder / "cut.png").write_bytes((folder / "PNG-RGB.png").read_bytes()[:-60])
    (folder / "empty.png").write_bytes(b"")
    (folder / "notes.txt").write_bytes(b"no picture")
    assert main([str(folder), "--convert", "--json", str(tmp_path / "out.json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"| all | {sound + 4} | {sound} | 4 | 0 |"
    verdicts = json.loads((tmp_path / "out.json").read_text())
    errors = sorted(each["name"] for each in verdicts if each["outcome"] == "clean error")
    assert errors == ["cut.jpg", "cut.png", "empty.png", "notes.txt"]


@pytest.mark.parametrize(
    ("name", "options"), [("x.png", {}), ("x.jpg", {"quality": 90}), ("x.tiff", {})]
)
def test_a_sound_file_is_right(
    name: str, options: dict[str, int], tiny_model: runtime.Model, tmp_path: Path
) -> None:
    _picture("RGB").save(tmp_path / name, **options)
    verdict = judge(tmp_path / name, tiny_model)
    assert (verdict.outcome, verdict.kind) == ("right", Path(name).suffix), verdict.why


def test_a_cut_file_is_a_clean_error(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(png(4, 4, 8, 2, bytes(13)))
    assert judge(tmp_path / "x.png").outcome == "clean error"


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), "a cell"),
        (lambda image: image.transpose(Image.Transpose.ROTATE_90), "pixels"),
        (lambda image: image.convert("RGB"), "alpha False for True"),
        (lambda image: image.point(lambda value: value * 9 // 10), "mean colour"),
        (lambda image: np.asarray(image).astype(np.uint16) * 257, "16 for 8 bits"),
    ],
    ids=["mirrored", "turned", "without alpha", "darker", "deeper"],
)
def test_a_wrong_reading_is_seen(
    fault: object, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.png"
    _picture("RGBA").save(path)
    photo = files.read(path)
    wrong = replace(photo, image=fault(photo.image))  # type: ignore[operator]
    monkeypatch.setattr(module.files, "read", lambda _: wrong)
    verdict = judge(path)
    assert verdict.outcome == "wrong"
    assert told in verdict.why


def test_a_foreign_exception_and_a_line_without_the_name_are_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(b"")
    faults = (KeyError("width"), runtime.ImageError("it is empty"))
    for error in faults:

        def fail(_: Path, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(module.files, "read", fail)
        assert judge(path).outcome == "wrong"
