"""The page to look at, in a real browser: it opens from disk, alone, and its slider works."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hcflow.pages import compare
from tests.support.bundles import write_bundle

ROOT = Path(__file__).parents[2]
REQUIRED = "HCFLOW_REQUIRE_BROWSER"
"""Set by .ci/run: a missing browser then fails the tests instead of skipping them."""

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=900,700",
)


def _compare(tmp_path: Path, *options: object) -> subprocess.CompletedProcess[bytes]:
    bundle = tmp_path / "tiny"
    if not bundle.exists():
        write_bundle(bundle)
    words = ["compare", *options, "--model", bundle]
    return subprocess.run(
        [sys.executable, "-m", "hcflow", *map(str, words)],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )


def _photograph(path: Path) -> Path:
    y, x = np.mgrid[0:90, 0:121]
    values = np.stack([x * 2, y * 2, 255 * ((x // 10 + y // 10) % 2)], axis=-1)
    Image.fromarray(values.astype(np.uint8)).save(path)
    return path


@pytest.fixture
def written(tmp_path: Path) -> Path:
    photo = _photograph(tmp_path / "a <b>.png")
    run = _compare(tmp_path, photo, "--round-trip", "-o", tmp_path / "page.html")
    assert (run.returncode, run.stderr) == (0, b"")
    return tmp_path / "page.html"


def test_the_page_needs_nothing_but_itself(written: Path) -> None:
    text = written.read_text(encoding="utf-8")
    assert re.findall(r"(?:https?:)?//[a-z]", text) == []
    assert "a &lt;b&gt;.png" in text
    assert len(re.findall(r"data:image/png;base64,", text)) == 5


def test_figures_are_against_the_truth(tmp_path: Path) -> None:
    photo = _photograph(tmp_path / "photo.png")
    small = tmp_path / "small.png"
    Image.open(photo).reduce(4).crop((0, 0, 30, 22)).save(small)
    crop = tmp_path / "crop.png"
    Image.open(photo).crop((0, 0, 120, 88)).save(crop)
    run = _compare(tmp_path, small, "--truth", crop, "-o", tmp_path / "page.html")
    assert (run.returncode, run.stderr) == (0, b"")
    text = (tmp_path / "page.html").read_text()
    assert "|result − original|" in text
    rows = re.findall(r"<tr><td>(\w+)</td>(.*?)</tr>", text)
    assert [name for name, _ in rows] == ["input", "bicubic", "result", "original"]
    assert all(re.search(r"\d\d\.\d\d</td>", cells) for name, cells in rows[1:3])


def test_wrong_usage_is_exit_code_two(tmp_path: Path) -> None:
    photo = _photograph(tmp_path / "photo.png")
    for options in (
        (photo, "-o", tmp_path / "page.png"),
        (photo, "--round-trip", "--truth", photo, "-o", tmp_path / "p.html"),
    ):
        assert _compare(tmp_path, *options).returncode == 2
    missing = _compare(tmp_path, tmp_path / "no.png", "-o", tmp_path / "p.html")
    assert missing.returncode == 1
    assert b"there is no such file" in missing.stderr


def test_the_heat_map_shows_where_and_how_much() -> None:
    first = np.zeros((3, 20, 20), np.float32)
    second = first.copy()
    second[1, 5, 6] = 0.5
    heat = compare.residual(first, second, "x")
    assert heat.image.getpixel((0, 0)) == (0, 0, 0)
    assert heat.image.getpixel((6, 5)) == (255, 255, 255)


class Browser:
    """A page in headless Chromium, driven through chromedriver's own HTTP interface."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}/session"
        options = {"args": list(_FLAGS), "binary": _chromium()}
        wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}}
        self._base += "/" + self.call("", wanted)["sessionId"]

    def call(self, path: str, body: dict[str, Any] | None = None, method: str = "POST") -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._base + path, data, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]

    def run(self, script: str, *arguments: object) -> Any:
        return self.call("/execute/sync", {"script": script, "args": list(arguments)})


def _chromium() -> str | None:
    return shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    driver = shutil.which("chromedriver")
    if driver is None or _chromium() is None:
        reason = "no Chromium and chromedriver here (Debian: chromium, chromium-driver)"
        if os.environ.get(REQUIRED):
            pytest.fail(reason)
        pytest.skip(reason)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [driver, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)
        opened = Browser(port)
        yield opened
        opened.call("", method="DELETE")
    finally:
        process.terminate()
        process.wait()


def test_the_slider_divides_two_pictures_in_a_real_browser(written: Path, browser: Browser) -> None:
    browser.call("/url", {"url": written.as_uri()})
    loaded = "return ['over', 'under'].map(i => document.getElementById(i)).every("
    for _ in range(100):
        if browser.run(loaded + "e => e.complete && e.naturalWidth === 121)"):
            break
        time.sleep(0.05)
    else:
        pytest.fail("the pictures did not load")
    move = (
        "const s = document.getElementById('slider'); s.value = arguments[0];"
        "s.dispatchEvent(new Event('input'));"
        "return [document.getElementById('over').style.clipPath, "
        "document.getElementById('line').style.left];"
    )
    assert browser.run(move, 250) == ["inset(0px 75% 0px 0px)", "25%"]
    assert browser.run(move, 1000) == ["inset(0px 0% 0px 0px)", "100%"]
    choose = (
        "const s = document.getElementById(arguments[0]); s.value = arguments[1];"
        "s.dispatchEvent(new Event('change'));"
        "return document.getElementById('over').src === images[arguments[1]];"
    )
    for name in ("input", "bicubic", "result", "original", "residual"):
        assert browser.run(choose, "left", name)
    browser.run(choose, "zoom", "4")
    width = "return document.getElementById('frame').getBoundingClientRect().width"
    assert browser.run(width) == 4 * 121
    table = browser.run("return document.getElementById('figures').innerText")
    assert "PSNR dB" in table
    assert "121×90" in table
    assert (
        browser.run(
            "return performance.getEntriesByType('resource').filter("
            "e => !e.name.startsWith('data:')).length"
        )
        == 0
    )


@pytest.mark.parametrize("options", [["--round-trip"], []])
def test_a_picture_too_large_for_a_page_is_refused_before_the_work(
    tmp_path: Path, options: list[str]
) -> None:
    side = 4500 if options else 1200
    Image.new("RGB", (side, side)).save(tmp_path / "large.png")
    (tmp_path / "tiny").mkdir()
    bundle = write_bundle(tmp_path / "tiny")
    for graph in bundle.glob("*.onnx"):
        graph.unlink()  # whoever needs a graph says so instead
    run = _compare(tmp_path, tmp_path / "large.png", "-o", tmp_path / "page.html", *options)
    assert run.returncode == 1
    assert "is too large for a page: crop the input" in run.stderr.decode()
    assert not (tmp_path / "page.html").exists()


def test_a_truth_of_another_size_and_a_missing_folder_are_named(tmp_path: Path) -> None:
    Image.new("RGB", (9, 7)).save(tmp_path / "small.png")
    page_ = tmp_path / "page.html"
    run = _compare(tmp_path, tmp_path / "small.png", "--truth", tmp_path / "small.png", "-o", page_)
    assert run.returncode == 1
    assert (
        f"--truth is not an original of '{tmp_path / 'small.png'}': size 9×7" in run.stderr.decode()
    )
    run = _compare(tmp_path, tmp_path / "small.png", "-o", tmp_path / "none" / "page.html")
    assert run.returncode == 1
    assert "page.html': the folder '" in run.stderr.decode()
