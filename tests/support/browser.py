"""Headless Chromium, driven through chromedriver's own HTTP interface."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

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

Point = tuple[int, int]
UP = {"type": "pointerUp", "button": 0}
_STATE = """
const box = e => {
  const b = e.getBoundingClientRect();
  return [b.left, b.top, b.width, b.height];
};
const frames = ['over', 'under'].map(side => document.querySelector(`#${side} .frame`));
const divider = document.getElementById('divider');
return {
  stage: box(document.getElementById('stage')), frames: frames.map(box),
  divider: parseFloat(divider.style.left), now: Number(divider.getAttribute('aria-valuenow')),
  text: divider.getAttribute('aria-valuetext'), zoom: document.getElementById('zoom').value,
  clip: document.getElementById('over').style.clipPath,
  rendering: getComputedStyle(frames[0].firstChild).imageRendering,
};
"""


def move(to: Point, milliseconds: int = 0) -> dict[str, Any]:
    """A step of a pointer."""
    return {"type": "pointerMove", "x": to[0], "y": to[1], "duration": milliseconds}


_RESULT = """
return (async () => {
  const image = new Image();
  image.src = document.getElementById('download').href;
  await image.decode();
  const [width, height] = [image.naturalWidth, image.naturalHeight];
  const context = new OffscreenCanvas(width, height).getContext('2d');
  context.drawImage(image, 0, 0);
  const data = context.getImageData(0, 0, width, height).data;
  let text = '';
  for (let i = 0; i < data.length; i += 1) text += String.fromCharCode(data[i]);
  return [width, height, btoa(text)];
})()
"""


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

    def devtools(self, command: str, **parameters: object) -> Any:
        return self.call("/goog/cdp/execute", {"cmd": command, "params": parameters})

    def act(self, *sources: dict[str, Any]) -> None:
        """Real input: a mouse, a wheel, fingers or keys, one after another or together."""
        self.call("/actions", {"actions": list(sources)})

    def drag(self, start: Point, end: Point) -> None:
        steps = [move(start), {"type": "pointerDown", "button": 0}, move(end), UP]
        self.act({"type": "pointer", "id": "mouse", "actions": steps})

    def wheel(self, at: Point, delta: int) -> None:
        turn = {"type": "scroll", "x": at[0], "y": at[1], "deltaX": 0, "deltaY": delta}
        self.act({"type": "wheel", "id": "wheel", "actions": [turn]})

    def press(self, *keys: str) -> None:
        steps = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self.act({"type": "key", "id": "keys", "actions": steps})

    def choose(self, selector: str, path: object) -> None:
        """Choose a file in the page's own field for one."""
        found = self.call("/element", {"using": "css selector", "value": selector})
        (element,) = found.values()
        self.call(f"/element/{element}/value", {"text": str(path)})

    def state(self) -> dict[str, Any]:
        """Where the pictures and the divider are, in CSS pixels."""
        state: dict[str, Any] = self.run(_STATE)
        return state


def _chromium() -> str | None:
    return shutil.which("chromium") or shutil.which("google-chrome")


@contextlib.contextmanager
def open_browser() -> Iterator[Browser]:
    """A browser; the test is skipped, or fails, where there is none."""
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


def wait_for(browser: Browser, condition: str) -> None:
    """Until a condition of the page's is true."""
    for _ in range(1200):
        if browser.run(f"return {condition}"):
            return
        time.sleep(0.05)
    pytest.fail(f"never: {condition}")


def downloaded(browser: Browser) -> NDArray[np.uint8]:
    """The colours [H, W, 3] of what the page offers for download."""
    width, height, data = browser.run(_RESULT)
    rgba = np.frombuffer(base64.b64decode(data), np.uint8).reshape(height, width, 4)
    return rgba[..., :3]
