"""`hcflow upscale photo.jpg`: the name it gives the result, the line it says, sizes and quality."""

from __future__ import annotations

import io
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import hcflow
from hcflow.cli import program
from runtime.errors import FileError, ParameterError
from runtime.images.codecs import files
from tests.support.bundles import write_bundle

Run = Callable[..., tuple[int, bytes, str]]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture
def run(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> Run:
    """Calls `hcflow` with the tiny bundle; exit code, standard output, standard error."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # pytest keeps its own handlers

    def call(*words: object, stdin: bytes = b"") -> tuple[int, bytes, str]:
        command = ["hcflow", *map(str, words), "--model", str(bundle), "--exact"]
        monkeypatch.setattr(sys, "argv", command)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as end:
            program.main()
        out, err = capsysbinary.readouterr()
        text = " ".join(re.sub(r"[│╭╮╰╯─]", " ", err.decode()).split())
        return int(end.value.code or 0), out, text

    return call


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    values = np.random.default_rng(0).integers(0, 256, (10, 13, 3), np.uint8)
    Image.fromarray(values).save(tmp_path / "photo.jpg", quality=90, subsampling=2)
    return tmp_path / "photo.jpg"


def test_the_result_stands_beside_the_photo_and_one_line_says_what_it_is(
    run: Run, photo: Path
) -> None:
    code, out, line = run("upscale", photo)
    large = photo.with_name("photo_x4.png")
    assert (code, out) == (0, b"")
    assert re.fullmatch(
        rf"{re.escape(str(large))}: 52×40, tiny_x4, fp32 on ONNX Runtime, \d+\.\d s", line
    )
    assert Image.open(large).size == (52, 40)


@pytest.mark.parametrize(
    ("words", "name", "size"),
    [
        (["upscale", "--scale", "2"], "photo_x2.png", (26, 20)),
        (["upscale", "--scale", "3.5"], "photo_x3.5.png", (46, 35)),
        (["upscale", "--scale", "8"], "photo_x8.png", (104, 80)),
        (["upscale", "--width", "20"], "photo_w20.png", (20, 15)),
        (["upscale", "--height", "25"], "photo_h25.png", (33, 25)),
        (["upscale", "--max-side", "30"], "photo_max30.png", (30, 23)),
        (["upscale", "--size", "30x30"], "photo_30x30.png", (30, 30)),
        (["upscale", "--suffix", "-big"], "photo-big.png", (52, 40)),
        (["upscale", "--format", "jpeg"], "photo_x4.jpg", (52, 40)),
        (["downscale"], "photo_down4.png", (4, 3)),
        (["downscale", "--format", "tiff"], "photo_down4.tif", (4, 3)),
    ],
)
def test_the_name_says_what_was_done(
    run: Run, photo: Path, words: list[str], name: str, size: tuple[int, int]
) -> None:
    assert run(words[0], photo, *words[1:])[0] == 0
    assert Image.open(photo.with_name(name)).size == size


def test_a_file_that_is_there_is_replaced_with_force_only(run: Run, photo: Path) -> None:
    large = photo.with_name("photo_x4.png")
    large.write_bytes(b"mine")
    code, _, said = run("upscale", photo)
    assert code == 2
    assert "exists: --force replaces it, -o names another" in said
    assert large.read_bytes() == b"mine"
    assert run("upscale", photo, "--force")[0] == 0
    assert Image.open(large).size == (52, 40)


def test_a_folder_gets_a_sibling_that_the_next_run_resumes(
    run: Run, photo: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    photo.rename(folder / "photo.jpg")
    (tmp_path / "photos_x2").mkdir()
    assert run("upscale", f"{folder}/", "--scale", 2)[0] == 0
    assert Image.open(tmp_path / "photos_x2" / "photo.jpg").size == (26, 20)
    assert "1 done before" in run("upscale", folder, "--scale", 2)[2]
    (tmp_path / "photos_down4").mkdir()
    (tmp_path / "photos_down4" / "mine.txt").write_text("mine")
    code, _, said = run("downscale", folder)
    assert code == 2
    assert "--force writes into it" in said


def test_a_folder_done_in_one_size_is_done_again_in_another(run: Run, photo: Path) -> None:
    out = photo.parent / "out"
    for words, size in (["--scale", "2"], (26, 20)), (["--width", "20"], (20, 15)):
        assert run("upscale", photo.parent, "-o", out, *words)[0] == 0
        assert Image.open(out / "photo.jpg").size == size


def test_standard_input_goes_to_standard_output(run: Run, photo: Path) -> None:
    code, out, line = run("upscale", "-", "--scale", 2, stdin=photo.read_bytes())
    assert (code, Image.open(io.BytesIO(out)).size) == (0, (26, 20))
    assert line.startswith("standard output: 26×20, tiny_x4, ")


def test_the_line_says_when_the_network_ran_twice(run: Run, photo: Path) -> None:
    assert ", tiny_x4 twice, " in run("upscale", photo, "--scale", 5)[2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--scale", "2", "--width", "9"], "--scale and --width: give one of them"),
        (["--scale", "2", "--size", "9x9"], "--scale and --size: give one of them"),
        (["--width", "0"], "Invalid value for '--width'"),
        (["--quality", "80"], "--quality is for JPEG, AVIF, WEBP: PNG has none"),
        (["-o", "x.png", "--suffix", "_y"], "--suffix has no effect beside -o"),
        (["--precision", "int8"], "--precision is decided by --exact"),
    ],
)
def test_wrong_usage_is_named(run: Run, photo: Path, words: list[str], message: str) -> None:
    code, _, said = run("upscale", photo, *words)
    assert (code, message in said) == (2, True), said
    assert [path.name for path in photo.parent.iterdir()] == ["photo.jpg"]


def test_a_scale_of_nothing_is_an_error(run: Run, photo: Path) -> None:
    assert "scale is 0.0: it must be a number above 0" in run("upscale", photo, "--scale", 0)[2]
    said = run("upscale", photo, "--scale", 40)[2]
    assert "is too large: this model gives at most 16×, here 208×160" in said


@pytest.mark.parametrize("suffix", ["jpg", "webp", "avif"])
def test_a_lower_quality_makes_a_smaller_file(run: Run, photo: Path, suffix: str) -> None:
    sizes = []
    for quality in (20, 90):
        out = photo.with_name(f"{quality}.{suffix}")
        assert run("upscale", photo, "-o", out, "--quality", quality)[0] == 0
        sizes.append(out.stat().st_size)
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize("subsampling", [0, 2])
@pytest.mark.parametrize("strips", ["--strips", "--no-strips"])
def test_a_jpeg_keeps_the_chroma_of_its_source(
    run: Run, photo: Path, subsampling: int, strips: str
) -> None:
    from PIL.JpegImagePlugin import get_sampling  # noqa: PLC0415

    Image.open(photo).save(photo, quality=95, subsampling=subsampling)
    out = photo.with_name("out.jpg")
    assert run("upscale", photo, "-o", out, strips)[0] == 0
    assert get_sampling(Image.open(out)) == subsampling
    small = photo.with_name("small.jpg")
    assert run("downscale", photo, "-o", small, strips)[0] == 0
    assert get_sampling(Image.open(small)) == 0  # what is upscaled again keeps all it can


def test_uncertainty_refuses_another_size(run: Run, photo: Path) -> None:
    heat = ["--uncertainty", photo.with_name("h.png"), "--tau", 1, "--samples", 2]
    code, _, said = run("upscale", photo, "--scale", 2, *heat)
    assert code == 1
    assert "leave out the size" in said


def test_samples_and_a_map_of_tau_take_any_size(run: Run, photo: Path) -> None:
    gray = photo.with_name("map.png")
    Image.new("L", (2, 2), 255).save(gray)
    words = ["--scale", 2, "--tau", 1, "--samples", 2, "--tau-map", gray]
    assert run("upscale", photo, *words)[0] == 0
    first, second = (Image.open(photo.with_name(f"photo_x2-{i}.png")) for i in (1, 2))
    assert first.size == second.size == (26, 20)
    assert first.tobytes() != second.tobytes()


def test_the_python_api_does_the_same(bundle: Path, photo: Path) -> None:
    done = hcflow.upscale_file(photo, model=bundle, exact=True, width=20, format="jpeg", quality=50)
    assert done == {
        "output": str(photo.with_name("photo_w20.jpg")),
        "model": "tiny_x4",
        "size": [20, 15],
    }
    with pytest.raises(FileError, match="exists"):
        hcflow.upscale_file(photo, model=bundle, exact=True, width=20, format="jpeg")
    with pytest.raises(ParameterError, match="quality is for"):
        hcflow.upscale_file(photo, photo.with_name("x.png"), model=bundle, quality=50)
    with pytest.raises(ParameterError, match="size and scale"):
        hcflow.upscale_file(photo, photo.with_name("x.png"), size=(9, 9), scale=2)


def test_formats_without_loss_take_no_quality(photo: Path) -> None:
    read = files.read(photo)
    assert read.lossy.halves_chroma
    assert read.lossy.pillow("PNG") == {}
    assert read.lossy.pillow("WEBP")["lossless"]
