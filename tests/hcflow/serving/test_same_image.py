"""The same image, however it goes in: the bytes of `Model.upscale`, and the table that says so."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tritonclient import http as triton
from typer.testing import CliRunner

from hcflow.cli.program import application
from tests.support.serving import Running, noise, png

PAGE = Path(__file__).parents[3] / "docs" / "serving.md"
ROOT = Path(__file__).parents[3]

Pixels = NDArray[np.uint8]
Way = Callable[[Running, Pixels, Path], Pixels]


def _read(data: bytes | Path) -> Pixels:
    source = io.BytesIO(data) if isinstance(data, bytes) else data
    return np.asarray(Image.open(source).convert("RGB"))


def _command(server: Running, *words: str | Path) -> None:
    bundle = server.model.network._bundle.folder
    options = ["--model", str(bundle), "--exact", "--tau", "0.7"]
    done = CliRunner().invoke(application(), [*map(str, words), *options])
    assert done.exit_code == 0, done.output


def _api(server: Running, picture: Pixels, _: Path) -> Pixels:
    return server.model.upscale(picture)


def _file(server: Running, picture: Pixels, folder: Path) -> Pixels:
    (folder / "a.png").write_bytes(png(picture))
    _command(server, "upscale", folder / "a.png", "-o", folder / "b.png")
    return _read(folder / "b.png")


def _folder(server: Running, picture: Pixels, folder: Path) -> Pixels:
    (folder / "in").mkdir()
    (folder / "in" / "a.png").write_bytes(png(picture))
    _command(server, "upscale", folder / "in", "-o", folder / "out")
    (found,) = (folder / "out").glob("*.png")
    return _read(found)


def _shard(server: Running, picture: Pixels, folder: Path) -> Pixels:
    (folder / "a.png").write_bytes(png(picture))
    (folder / "list.txt").write_text(str(folder / "a.png") + "\n", encoding="utf-8")
    words = ["--manifest", folder / "list.txt", "--shard", "0/1", "-o", folder / "large"]
    _command(server, "upscale", *words)
    (found,) = (folder / "large").rglob("*.png")
    return _read(found)


def _http(server: Running, picture: Pixels, _: Path) -> Pixels:
    return _read(server.client.post("/v1/upscale", content=png(picture)).content)


def _kserve(server: Running, picture: Pixels, _: Path) -> Pixels:
    given = triton.InferInput("IMAGE", list(picture.shape), "UINT8")
    given.set_data_from_numpy(picture)
    client = triton.InferenceServerClient(server.url.removeprefix("http://"))
    found: Pixels = client.infer("tiny_x4", [given]).as_numpy("UPSCALED")
    return found


WAYS: dict[str, Way] = {
    "`model.upscale(image)`": _api,
    "`hcflow upscale FILE`": _file,
    "`hcflow upscale FOLDER`": _folder,
    "`hcflow upscale --manifest LIST --shard i/N`": _shard,
    "`POST /v1/upscale`": _http,
    "KServe v2, `tritonclient`": _kserve,
}
"""What runs in this test, on ONNX Runtime."""

ELSEWHERE = {
    "Triton's Python backend": ("equal", "tests/hcflow/test_triton.py"),
    "Ray": ("equal", "tests/hcflow/test_batch_ray.py"),
    "the C++ runtime": ("equal", "tests/cpp/test_parity.py"),
    "`hcflow web`, Chromium": ("at most 1/255 in 0.1 % of values", "tests/hcflow/test_web.py"),
}
"""What other tests hold."""


@pytest.mark.parametrize("way", WAYS)
def test_every_way_gives_the_bytes_of_the_model(way: str, server: Running, tmp_path: Path) -> None:
    picture = noise(21, 34)
    assert np.array_equal(WAYS[way](server, picture, tmp_path), server.model.upscale(picture))


def test_the_table_of_ways_is_what_is_tested() -> None:
    here = "tests/hcflow/serving/test_same_image.py"
    rows = dict.fromkeys(WAYS, ("equal", here)) | ELSEWHERE
    assert all((ROOT / test).is_file() for _, test in rows.values())
    table = "\n".join(f"| {way} | {bytes_} | `{test}` |" for way, (bytes_, test) in rows.items())
    assert table in PAGE.read_text(encoding="utf-8")
