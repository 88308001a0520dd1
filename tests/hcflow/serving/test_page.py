"""The page of a server in a real browser: a picture is chosen, compared and downloaded."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hcflow.serving.access import Access
from tests.support.browser import Browser, downloaded, open_browser, wait_for
from tests.support.serving import Running, noise, png, running

_DONE = "!document.getElementById('download').hidden"
_DROP = """
const binary = atob(arguments[0]), bytes = Uint8Array.from(binary, c => c.charCodeAt(0));
const data = new DataTransfer();
data.items.add(new File([bytes], arguments[1]));
document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true }));
"""
_TEXT = "return document.getElementById('status').textContent"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


def _drop(browser: Browser, data: bytes, name: str) -> None:
    browser.run(_DROP, base64.b64encode(data).decode(), name)


def test_a_picture_is_chosen_compared_and_downloaded(
    browser: Browser, server: Running, tmp_path: Path
) -> None:
    picture = noise(20, 30)
    (tmp_path / "my photo.png").write_bytes(png(picture))
    browser.call("/url", {"url": server.url})
    wait_for(browser, "document.getElementById('model').options.length === 1")
    assert not browser.run("return document.getElementById('stage').offsetWidth")
    browser.choose("#file", tmp_path / "my photo.png")
    wait_for(browser, _DONE)
    wait_for(browser, "[...document.querySelectorAll('.frame img')].length === 2")
    wait_for(browser, "[...document.querySelectorAll('.frame img')].every(e => e.naturalWidth > 0)")
    chosen = browser.run("return ['left', 'right'].map(n => document.getElementById(n).value)")
    assert chosen == ["input", "tiny_x4"]
    assert browser.state()["now"] == 50
    name = browser.run("return document.getElementById('download').download")
    assert name == "my photo_x4.png"
    assert np.array_equal(downloaded(browser), server.model.upscale(picture))


def test_a_picture_is_dropped_and_downscaled(browser: Browser, server: Running) -> None:
    browser.call("/url", {"url": server.url})
    wait_for(browser, "document.getElementById('model').options.length === 1")
    browser.run(
        "const d = document.getElementById('direction'); d.value = 'downscale';"
        "d.dispatchEvent(new Event('change'))"
    )
    _drop(browser, png(noise(32, 32)), "a.b.png")
    wait_for(browser, _DONE)
    assert browser.run("return document.getElementById('download').download") == "a.b_down4.png"
    assert downloaded(browser).shape == (8, 8, 3)


def test_the_page_says_what_is_wrong_and_takes_the_next(browser: Browser, server: Running) -> None:
    browser.call("/url", {"url": server.url})
    wait_for(browser, "document.getElementById('model').options.length === 1")
    _drop(browser, b"<b>no image</b>", "<b>x</b>.png")
    wait_for(browser, "document.getElementById('progress').hidden")
    wait_for(browser, "document.getElementById('status').textContent.includes('not an image')")
    _drop(browser, png(noise(4, 4)), "b.png")
    wait_for(browser, _DONE)
    assert browser.run(_TEXT) == ""


def test_work_can_be_cancelled_from_the_page(browser: Browser, tmp_path: Path) -> None:
    with running(tmp_path / "tiny") as server:
        held = server.hold()
        browser.call("/url", {"url": server.url})
        wait_for(browser, "document.getElementById('model').options.length === 1")
        _drop(browser, png(noise(4, 4)), "c.png")
        held.wait()
        browser.run("document.getElementById('cancel').click()")
        wait_for(browser, "document.getElementById('status').textContent === 'cancelled'")
        assert held.cancelled.wait(60)


def test_the_page_asks_for_the_token(browser: Browser, tmp_path: Path) -> None:
    with running(tmp_path / "tiny", access=Access(b"0123456789abcdef")) as server:
        browser.call("/url", {"url": server.url})
        wait_for(browser, "!document.getElementById('token-row').hidden")
        browser.run(
            "const t = document.getElementById('token'); t.value = '0123456789abcdef';"
            "t.dispatchEvent(new Event('change'))"
        )
        wait_for(browser, "document.getElementById('model').options.length === 1")
        _drop(browser, png(noise(4, 4)), "d.png")
        wait_for(browser, _DONE)


def test_the_page_loads_nothing_from_elsewhere(browser: Browser, server: Running) -> None:
    browser.call("/url", {"url": server.url})
    wait_for(browser, "document.getElementById('model').options.length === 1")
    names = browser.run("return performance.getEntriesByType('resource').map(e => e.name)")
    assert names == [f"{server.url}/v1/models"]
