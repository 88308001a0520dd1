"""`hcflow web`: the page computes in a real browser what Python computes."""

from __future__ import annotations

import functools
import json
import re
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

import hcflow
from hcflow.cli.program import application
from hcflow.models.shipped import resolve
from hcflow.web import package, site
from hcflow_ref.images.photographs import photograph
from runtime.bundle.reader import Bundle
from runtime.errors import BackendError, FileError
from tests.support.browser import Browser, downloaded, open_browser, wait_for
from tests.support.bundles import write_bundle
from tests.support.serving import noise, png

Pixels = NDArray[np.uint8]

DOCUMENT = Path(__file__).parents[2] / "docs" / "latents.md"
_LATENTS = """
const [places] = arguments;
return import('./latents.js').then(({ region }) => places.map(place => {
  const [seed, sample, level, channel, y, x] = place;
  const size = { channels: channel + 1, top: y, left: x, height: 1, width: 1, tau: 1 };
  const value = region({ seed: BigInt(seed), sample, level, ...size })[channel];
  return new Uint32Array(new Float32Array([value]).buffer)[0];
}))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page with the default model and a tiny one that needs few tiles."""
    folder = tmp_path_factory.mktemp("site")
    tiny = write_bundle(tmp_path_factory.mktemp("bundles") / "tiny")
    bundles = [("rescale_x4", Bundle.open(resolve())), ("tiny", Bundle.open(tiny))]
    try:
        site.write(bundles, folder, runtimes=("wasm",))
    except BackendError as error:
        pytest.skip(f"onnxruntime-web cannot be fetched here: {error}")
    return folder


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    handler = functools.partial(_Quiet, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


def converted(browser: Browser, url: str, picture: Path, model: str, direction: str) -> Pixels:
    browser.call("/url", {"url": url})
    wait_for(browser, "document.getElementById('model').options.length === 2")
    for name, value in (("direction", direction), ("model", model)):
        browser.run(
            f"const e = document.getElementById('{name}'); e.value = '{value}';"
            "e.dispatchEvent(new Event('change'))"
        )
        wait_for(browser, "document.getElementById('model').options.length === 2")
    browser.run(f"document.getElementById('model').value = '{model}'")
    browser.choose("#file", picture)
    wait_for(
        browser,
        "!document.getElementById('download').hidden || document.getElementById('status')"
        ".textContent.length > 80",
    )
    assert browser.run("return document.getElementById('status').textContent") == ""
    assert "WebAssembly, 1 thread" in browser.run(
        "return document.getElementById('backend').textContent"
    )
    return downloaded(browser)


def assert_same(found: Pixels, wanted: Pixels) -> None:
    assert found.shape == wanted.shape
    off = np.abs(found.astype(int) - wanted)
    assert off.max() <= 1
    assert (off > 0).mean() <= 0.001


def saved(path: Path, pixels: Pixels) -> Path:
    path.write_bytes(png(pixels))
    return path


def test_a_photograph_is_downscaled_and_restored_as_in_python(
    browser: Browser, url: str, tmp_path: Path
) -> None:
    crop = photograph("chelsea")[60:203, 90:281]  # odd sides
    model = hcflow.load("rescale_x4", backend="onnxruntime")
    small = model.downscale(crop)
    assert_same(
        converted(browser, url, saved(tmp_path / "a.png", crop), "rescale_x4", "downscale"), small
    )
    assert_same(
        converted(browser, url, saved(tmp_path / "b.png", small), "rescale_x4", "upscale"),
        model.upscale(small),
    )


def test_black_on_white_stays_neutral_and_a_logo_keeps_its_colour(
    browser: Browser, url: str, tmp_path: Path
) -> None:
    page = np.full((31, 45, 3), 255, np.uint8)
    page[8:12, 5:20] = 0
    page[20:26, 34:40] = 200, 20, 30
    model = hcflow.load("rescale_x4", backend="onnxruntime")
    found = converted(browser, url, saved(tmp_path / "a.png", page), "rescale_x4", "upscale")
    assert_same(found, model.upscale(page))
    left = found[:, : 4 * 12].astype(int)
    assert (left.max(axis=2) - left.min(axis=2)).max() == 0


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 70), (53, 2), (64, 90)])
def test_any_size_goes_through_the_same_tiles(
    browser: Browser, url: str, tmp_path: Path, folder: Path, height: int, width: int
) -> None:
    (entry,) = [m for m in json.loads((folder / "models.json").read_text()) if m["name"] == "tiny"]
    tiny = hcflow.load(write_bundle(tmp_path / "tiny"), backend="onnxruntime")
    for direction in entry["directions"]:
        convert = tiny.upscale if direction == "upscale" else tiny.downscale
        picture = noise(height, width)
        found = converted(browser, url, saved(tmp_path / "a.png", picture), "tiny", direction)
        assert_same(found, convert(picture))


def test_latents_have_the_bits_of_numpy(browser: Browser, url: str) -> None:
    rows = re.findall(
        r"^\| (\d+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \| \S+ \| `(\w+)` \|",
        DOCUMENT.read_text(encoding="utf-8"),
        re.M,
    )
    assert len(rows) > 10
    browser.call("/url", {"url": url + "models.json"})  # a page that may import modules
    places = [[seed, *map(int, rest)] for seed, *rest, _ in rows]
    assert browser.run(_LATENTS, places) == [int(bits, 16) for *_, bits in rows]


def test_what_is_no_picture_is_said_and_the_page_goes_on(
    browser: Browser, url: str, tmp_path: Path
) -> None:
    browser.call("/url", {"url": url})
    wait_for(browser, "document.getElementById('model').options.length === 2")
    (tmp_path / "x.png").write_bytes(b"no picture")
    browser.choose("#file", tmp_path / "x.png")
    wait_for(browser, "document.getElementById('status').textContent.includes('cannot read x.png')")


def test_a_page_opened_as_a_file_says_what_it_needs(browser: Browser, folder: Path) -> None:
    browser.call("/url", {"url": (folder / "index.html").as_uri()})
    wait_for(browser, "document.getElementById('status').textContent.includes('http.server')")


def test_the_site_holds_what_the_page_asks_for_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package, "_fetched", lambda: pytest.fail("nothing is fetched"))
    monkeypatch.setattr(package, "files", lambda names, _: dict.fromkeys(names, b"x"))
    bundle = Bundle.open(write_bundle(tmp_path / "tiny"))
    written = site.write([("tiny", bundle)], tmp_path / "site")
    models = json.loads((tmp_path / "site" / "models.json").read_text())
    graphs = {graph["file"] for model in models for graph in model["graphs"].values()}
    runtimes = {f"ort/{name}" for names in package.RUNTIMES.values() for name in names}
    page = {"index.html", "models.json", *site.SCRIPTS}
    assert set(written) == page | graphs | runtimes


def test_another_package_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other.tgz").write_bytes(b"other")
    with pytest.raises(FileError, match=rf"other.tgz' is not {package.FILE}"):
        package.files(("x",), tmp_path / "other.tgz")
    with pytest.raises(FileError, match="cannot be read"):
        package.files(("x",), tmp_path / "none.tgz")
    monkeypatch.setenv("HCFLOW_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "http://127.0.0.1:9/")
    with pytest.raises(
        BackendError, match=r"cannot be fetched from http://127.0.0.1:9/onnx.*--pac"
    ):
        package.files(("x",))
    assert not (tmp_path / "cache").exists()


def test_bad_choices_are_named(tmp_path: Path) -> None:
    words = ["web", str(write_bundle(tmp_path / "tiny")), "-o", str(tmp_path / "site")]
    done = CliRunner().invoke(application(), [*words, "--precision", "fp12"])
    assert done.exit_code != 0
    assert "fp12" in done.output
    done = CliRunner().invoke(application(), [*words, "--precision", "int8"])
    assert done.exit_code == 1
    assert "not in int8" in done.output
    assert not (tmp_path / "site").exists()
