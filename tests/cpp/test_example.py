"""The C++ runtime's example, hcflow-cpp, reads and writes PNG files as Python does."""

from __future__ import annotations

import os
import re
import resource
import signal
import stat
import struct
import subprocess
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

import runtime
from runtime.images.codecs import files
from tests.support import cpp_library, shipped
from tests.support.bundles import write_bundle
from tests.support.cpp_library import SOURCE, run
from tests.support.odd_files import png

pytestmark = cpp_library.MARKS


@pytest.fixture(scope="module")
def rescale_x4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shipped.write(tmp_path_factory.mktemp("bundles") / "rescale_x4", "rescale_x4")


class Example:
    """The program under sanitizers, on the null backend and a small bundle."""

    def __init__(self, program: Path, folder: Path) -> None:
        self._program, self.bundle = program, write_bundle(folder / "tiny")
        self.folder = folder / "pictures"
        self.folder.mkdir()

    def start(self, *arguments: str | Path, **options: Any) -> subprocess.Popen[bytes]:
        common = ("--bundle", self.bundle, "--backend", "null", "--no-cache")
        return subprocess.Popen(
            [self._program, *common, *arguments], env=cpp_library.sanitized_openvino(),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=self.folder, **options,
        )  # fmt: skip

    def run(self, *arguments: str | Path, **options: Any) -> bytes:
        done = self.start(*arguments, **options)
        out, error = done.communicate()
        assert done.returncode == 0, error.decode()
        return out

    def refusal(self, *arguments: str | Path, **options: Any) -> str:
        done = self.start(*arguments, **options)
        error = done.communicate()[1].decode()
        assert done.returncode == 1, error
        return error

    def picture(self, name: str, **options: Any) -> Path:
        Image.fromarray(_noise((5, 7, 3), "uint8")).save(self.folder / name, **options)
        return self.folder / name

    def names(self) -> list[str]:
        return sorted(os.listdir(self.folder))


@pytest.fixture
def example(sanitized: Path, tmp_path: Path) -> Example:
    return Example(sanitized / "programs" / "hcflow-cpp", tmp_path)


def test_the_example_downscales_and_upscales_a_png(
    installed: Path, rescale_x4: Path, tmp_path: Path
) -> None:
    pixels = _noise((40, 53, 3), "uint8")
    Image.fromarray(pixels).save(tmp_path / "in.png")
    program = installed / "bin" / "hcflow-cpp"
    common = ["--bundle", rescale_x4, "--no-cache"]
    run(program, *common, "--down", tmp_path / "in.png", tmp_path / "small.png")
    run(program, *common, "--size", "53x40", tmp_path / "small.png", tmp_path / "out.png")
    model = runtime.load(rescale_x4, backend="openvino")
    small = model.downscale(pixels)
    _equal(np.asarray(Image.open(tmp_path / "small.png")), small)
    _equal(np.asarray(Image.open(tmp_path / "out.png")), model.upscale(small, size=(40, 53)))
    assert len((SOURCE / "programs" / "hcflow_cpp.cpp").read_text().splitlines()) < 150


def test_the_example_does_not_apply_gamma(
    installed: Path, rescale_x4: Path, tmp_path: Path
) -> None:
    pixels = _noise((8, 12), "uint8")
    gamma = PngImagePlugin.PngInfo()
    gamma.add(b"gAMA", struct.pack(">I", 100_000))
    Image.fromarray(pixels).save(tmp_path / "plain.png")
    Image.fromarray(pixels).save(tmp_path / "gamma.png", pnginfo=gamma)
    Image.fromarray(pixels.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    results = []
    for name in ("plain", "gamma", "deep"):
        small = tmp_path / f"{name}.small.png"
        run(installed / "bin" / "hcflow-cpp", "--bundle", rescale_x4, "--no-cache",
            "--down", tmp_path / f"{name}.png", small)  # fmt: skip
        results.append(np.asarray(Image.open(small)))
    for other in results[1:]:
        _equal(other, results[0])


@pytest.mark.parametrize(
    ("options", "refusal"),
    [
        ([], "in.png': it has 60000x60000 pixels, the limit is 178956970"),
        (["--down", "--seed", "0"], "--size, --tau and --seed are for upscaling"),
    ],
)
def test_the_example_refuses_before_it_computes(
    installed: Path, tmp_path: Path, options: list[str], refusal: str
) -> None:
    header = struct.pack(">4sIIBBBBB", b"IHDR", 60_000, 60_000, 8, 2, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header
    data = start + struct.pack(">II4sI", zlib.crc32(header), 0, b"IDAT", zlib.crc32(b"IDAT"))
    (tmp_path / "in.png").write_bytes(data)
    done = subprocess.run(
        [installed / "bin" / "hcflow-cpp", "--bundle", "b", *options, tmp_path / "in.png", "out"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert refusal in done.stderr


def test_the_example_uses_the_models_overlap(
    installed: Path, rescale_x4: Path, tmp_path: Path, example: Example
) -> None:
    pixels = _noise((40, 53, 3), "uint8")
    Image.fromarray(pixels).save(tmp_path / "in.png")
    run(installed / "bin" / "hcflow-cpp", "--bundle", rescale_x4, "--no-cache", "--tau", "0",
        "--tile", "16", tmp_path / "in.png", tmp_path / "out.png")  # fmt: skip
    expected = runtime.load(rescale_x4, backend="openvino").upscale(pixels, tau=0.0, tile=16)
    _equal(np.asarray(Image.open(tmp_path / "out.png")), expected)
    refusal = example.refusal("--tile", "4", example.picture("in.png"), "out.png")
    assert "states no overlap: give one" in refusal
    example.run("--tile", "4+1", "in.png", "out.png")


def test_the_example_warns_of_less_overlap_than_was_measured(example: Example) -> None:
    tiled = write_bundle(example.folder.parent / "tiled", tile=4, overlap=2)
    picture = example.picture("in.png")

    def said(tiling: str) -> str:
        done = example.start("--bundle", tiled, "--tile", tiling, picture, f"{tiling}.png")
        error = done.communicate()[1].decode()
        assert done.returncode == 0, error
        return error

    assert "warning: an overlap of 0 is less than the model was measured to need" in said("4+0")
    assert "warning" not in said("4+2")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("orientation", range(1, 10))
def test_an_image_is_turned_upright_as_in_python(example: Example, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "a maker", orientation
    big, little = exif.tobytes().removeprefix(b"Exif\0\0"), _little_endian(orientation)
    digits = (b"Exif\0\0" + little).hex()
    raw = f"\nexif\n{len(digits) // 2:8}\n{digits}\n"
    text = f'<x tiff:Orientation=""/><tiff:Orientation>{orientation}</tiff:Orientation>'
    forms = {
        "before": example.picture("before.png", exif=exif),
        "after": _with_chunk(example.picture("after.png"), b"eXIf", big),
        "little": _with_chunk(example.picture("little.png"), b"eXIf", little),
        "raw": _with_chunk(
            example.picture("raw.png"), b"zTXt",
            b"Raw profile type exif\0\0" + zlib.compress(raw.encode()),
        ),
        "xmp": _with_chunk(
            example.picture("xmp.png"), b"iTXt",
            b"XML:com.adobe.xmp\0\0\0\0\0" + text.encode(),
        ),
        "cut": _with_chunk(example.picture("cut.png"), b"eXIf", little[:-8]),
    }  # fmt: skip
    turned = np.asarray(files.read(forms["before"]).image)
    assert np.array_equal(turned, _noise((5, 7, 3), "uint8")) == (orientation in (1, 9))
    for name, path in forms.items():
        pixels = np.asarray(files.read(path).image)
        assert np.array_equal(pixels, turned) or name == "cut"
        Image.fromarray(pixels).save(example.folder / "upright.png")
        results = [example.run(each, "/dev/stdout") for each in (path, "upright.png")]
        assert results[0] == results[1], name


def test_the_colour_profile_is_kept(example: Example) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for name, icc in (("sound", profile), ("damaged", profile[:100])):
        example.run(example.picture(f"{name}.png", icc_profile=icc), "out.png")
        with Image.open(example.folder / "out.png") as out:
            assert out.info.get("icc_profile") == (profile if name == "sound" else None)
            assert out.size == (28, 20)


def test_the_density_is_kept_and_none_is_invented(example: Example) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for name, options, expected in (
        ("stated", {"dpi": (300, 150)}, (300, 150)),
        ("turned", {"dpi": (300, 150), "exif": exif}, (150, 300)),
        ("none", {}, None),
    ):
        example.run(example.picture(f"{name}.png", **options), "out.png")
        assert files.read(example.folder / "out.png").density == expected


def test_rows_that_are_missing_are_counted(example: Example) -> None:
    rows = b"".join(b"\0" + bytes(7 * 3) for _ in range(3))
    (example.folder / "in.png").write_bytes(png(7, 5, 8, 2, rows))
    assert "it is damaged: 3 of 5 rows are there" in example.refusal("in.png", "out.png")


def test_a_failed_write_keeps_the_old_file(example: Example) -> None:
    image, out = example.picture("in.png"), example.folder / "out.png"
    out.write_bytes(b"an older result")

    def full_disk() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

    assert "cannot write 'out.png': " in example.refusal(image, "out.png", preexec_fn=full_disk)
    assert out.read_bytes() == b"an older result"
    assert example.names() == ["in.png", "out.png"]
    assert "No space left" in example.refusal(image, "/dev/full")
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)
    assert "it is a folder" in example.refusal(image, example.folder)
    assert "No such file" in example.refusal(image, "nowhere/out.png")


def test_a_result_replaces_an_older_file(example: Example) -> None:
    image, out = example.picture("in.png"), example.folder / "out.png"
    out.write_bytes(b"an older result")
    out.chmod(0o640)
    os.link(out, example.folder / "other name")
    (example.folder / "link.png").symlink_to("out.png")
    (example.folder / "new link.png").symlink_to("new.png")
    for name in ("link.png", "new link.png"):
        example.run(image, name)
        assert (example.folder / name).is_symlink()
    assert out.read_bytes() == (example.folder / "new.png").read_bytes()
    assert Image.open(out).size == (28, 20)
    assert stat.S_IMODE(out.stat().st_mode) == 0o640
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((example.folder / "new.png").stat().st_mode) == 0o666 & ~mask
    assert (example.folder / "other name").read_bytes() == b"an older result"
    names = ["in.png", "link.png", "new link.png", "new.png", "other name", "out.png"]
    assert example.names() == names


def test_without_a_second_file_the_result_lies_beside_the_first(example: Example) -> None:
    image = example.picture("in.v2.png")
    example.run(image, "named.png")
    example.run(image)
    assert example.names() == ["in.v2.png", "in.v2_x4.png", "named.png"]
    result = (example.folder / "in.v2_x4.png").read_bytes()
    assert result == (example.folder / "named.png").read_bytes()
    assert "in.v2_x4.png' exists: name the file to write to replace it" in example.refusal(image)
    example.run("in.v2.png", "in.v2_x4.png")
    assert "give a file to write" in example.refusal("--down", image)
    (example.folder / "new.png").symlink_to("in.v2.png")
    (example.folder / "new_x4.png").symlink_to("nowhere.png")
    assert "new_x4.png' exists" in example.refusal("new.png")


def test_the_input_is_not_overwritten(example: Example) -> None:
    image = example.picture("in.png")
    (example.folder / "link.png").symlink_to("in.png")
    os.link(image, example.folder / "same.png")
    before = image.read_bytes()
    for name in ("in.png", "./in.png", "link.png", "same.png"):
        refusal = example.refusal(image, name)
        assert f"'{name}' is the input image: give another file to write" in refusal
    assert image.read_bytes() == before


def test_pipes_and_deleted_files_are_written_to(example: Example, tmp_path: Path) -> None:
    image = example.picture("in.png")
    example.run(image, "out.png")
    expected = (example.folder / "out.png").read_bytes()
    assert example.run(image, "/dev/stdout") == expected
    os.mkfifo(example.folder / "pipe")
    program = example.start(image, "pipe")
    assert (example.folder / "pipe").read_bytes() == expected
    line = program.communicate()[1].decode()
    assert re.fullmatch(r"pipe: 28×20, tiny_x4, fp32 on null, \d+\.\d s\n", line)
    assert program.returncode == 0
    with (tmp_path / "gone").open("w+b") as gone:
        (tmp_path / "gone").unlink()
        example.run(image, f"/dev/fd/{gone.fileno()}", pass_fds=[gone.fileno()])
        assert gone.read() == expected
    assert example.names() == ["in.png", "out.png", "pipe"]


def _with_chunk(path: Path, kind: bytes, data: bytes) -> Path:
    """Add a chunk to a PNG file, behind its pixels."""
    whole, body = path.read_bytes(), kind + data
    chunk = struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))
    path.write_bytes(whole[:-12] + chunk + whole[-12:])  # before IEND
    return path


def _little_endian(orientation: int) -> bytes:
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    return b"II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4)


def _noise(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    values = np.random.default_rng(3).random(shape, np.float32)
    return (values * np.iinfo(dtype).max).astype(dtype)


def _equal(one: np.ndarray, two: np.ndarray) -> None:
    assert one.dtype == two.dtype
    np.testing.assert_array_equal(one, two)
