"""The page to look at, in a real browser: it opens from disk, alone, and is used by hand."""

from __future__ import annotations

import base64
import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hcflow.pages import compare
from tests.support.browser import UP, Browser, Point, move, open_browser, wait_for
from tests.support.bundles import write_bundle

ROOT = Path(__file__).parents[2]


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


def scenes_of(page: Path) -> Any:
    text = page.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="scenes">(.*?)</script>', text, re.S)
    assert found is not None
    return json.loads(found[1])


def test_the_page_needs_nothing_but_itself(written: Path) -> None:
    text = written.read_text(encoding="utf-8")
    readable = re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)  # whose alphabet has slashes
    assert re.findall(r"(?:https?:)?//[a-z]", readable) == []
    assert "a &lt;b&gt;.png" in text
    assert len(re.findall(r"data:image/webp;base64,", text)) == 4


def test_figures_are_against_the_truth(tmp_path: Path) -> None:
    photo = _photograph(tmp_path / "photo.png")
    small = tmp_path / "small.png"
    Image.open(photo).reduce(4).crop((0, 0, 30, 22)).save(small)
    crop = tmp_path / "crop.png"
    Image.open(photo).crop((0, 0, 120, 88)).save(crop)
    run = _compare(tmp_path, small, "--truth", crop, "-o", tmp_path / "page.html")
    assert (run.returncode, run.stderr) == (0, b"")
    (scene,) = scenes_of(tmp_path / "page.html")
    assert scene["reference"] == "original"
    layers = {layer["name"]: layer for layer in scene["layers"]}
    assert list(layers) == ["input", "bicubic", "tiny_x4", "original"]
    for name in ("bicubic", "tiny_x4"):
        assert re.fullmatch(r"\d\d\.\d\d dB", layers[name]["figures"][""])
        assert re.fullmatch(r"\d+/255", layers[name]["figures"]["largest error"])
    assert (layers["input"]["scale"], layers["input"]["figures"][""]) == (4, "30×22")


def test_several_models_stand_side_by_side(tmp_path: Path) -> None:
    photo = _photograph(tmp_path / "photo.png")
    (tmp_path / "again").mkdir()
    again = write_bundle(tmp_path / "again")
    run = _compare(
        *(tmp_path, photo, "--round-trip", "--model", again, "-o", tmp_path / "page.html")
    )
    assert (run.returncode, run.stderr) == (0, b"")
    (scene,) = scenes_of(tmp_path / "page.html")
    names = [layer["name"] for layer in scene["layers"]]
    models = ["tiny_x4", "tiny_x4 (2)"]
    assert names == [*(f"input of {name}" for name in models), "bicubic", *models, "original"]


def test_transparency_lies_on_white(tmp_path: Path) -> None:
    Image.new("RGBA", (24, 16), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    run = _compare(tmp_path, tmp_path / "clear.png", "-o", tmp_path / "page.html")
    assert (run.returncode, run.stderr) == (0, b"")
    (scene,) = scenes_of(tmp_path / "page.html")
    for layer in scene["layers"]:
        data = base64.b64decode(layer["src"].split(",")[1])
        assert np.asarray(Image.open(io.BytesIO(data))).min() == 255


def test_a_large_picture_is_stored_as_jpeg_and_the_note_says_so() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
    large = Image.fromarray(noise).resize((4000, 3000), Image.Resampling.BICUBIC)
    layer = compare.Layer("one", large, {})
    scene = compare.Scene("x", large.size, [layer], "one", "one", "one", "Note.")
    text = compare.render("x", [scene])
    assert "data:image/jpeg;base64," in text
    assert "more than 4 megapixels are shown as JPEG" in text
    assert len(text) < 10_000_000


def test_a_name_cannot_end_the_data_of_the_page() -> None:
    layer = compare.Layer("</script><b>", Image.new("RGB", (4, 4)), {})
    scene = compare.Scene("<!--", (4, 4), [layer], layer.name, layer.name, layer.name, "")
    text = compare.render("x", [scene])
    assert text.count("</script>") == 2
    assert "<!--" not in text


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


_LEFT, _RIGHT, _PAGE_UP, _HOME, _END = "\ue012", "\ue014", "\ue00e", "\ue011", "\ue010"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scenes of 120×90, the first with a known difference: one pixel of 50, a block of 100."""
    folder = tmp_path_factory.mktemp("page")
    y, x = np.mgrid[0:90, 0:120]
    truth = np.stack([x * 2, y * 2, (x + y) % 100], axis=-1).astype(np.uint8)
    other = truth.copy()
    other[40:50, 60:80, 2] += 100
    other[10, 10, 0] += 50
    layers = [
        compare.Layer("input", Image.fromarray(truth).reduce(4), {"": "30×23"}, 4),
        compare.Layer("bicubic", Image.fromarray(truth // 2), {"": "20.00 dB"}),
        compare.Layer("tiny", Image.fromarray(other), {"": "30.00 dB", "largest error": "100/255"}),
        compare.Layer("original", Image.fromarray(truth), {"": "120×90"}),
    ]
    scenes = [
        compare.Scene(name, (120, 90), layers, "bicubic", "tiny", "original", f"Note of {name}.")
        for name in ("one", "two")
    ]
    (folder / "page.html").write_text(compare.render("Pictures", scenes), encoding="utf-8")
    return folder / "page.html"


@pytest.fixture
def opened(page: Path, browser: Browser) -> Browser:
    """The page in a window of 1000×700, its pictures loaded."""
    _open(browser, page, 1000, 700)
    return browser


def _open(browser: Browser, page: Path, width: int, height: int, scheme: str = "light") -> None:
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.devtools("Emulation.setDeviceMetricsOverride", **size)
    scheme_feature = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.devtools("Emulation.setEmulatedMedia", features=scheme_feature)
    browser.call("/url", {"url": page.as_uri()})
    wait_for(browser, "[...document.querySelectorAll('.frame img')].every(e => e.naturalWidth > 0)")


def middle(state: dict[str, Any]) -> Point:
    left, top, width, height = state["stage"]
    return round(left + width / 2), round(top + height / 2)


def test_the_picture_fits_the_window_and_needs_nothing_from_outside(opened: Browser) -> None:
    state = opened.state()
    (left, _, width, height), frame = state["stage"], state["frames"][0]
    assert frame[3] == pytest.approx(height, abs=1)
    assert frame[0] + frame[2] / 2 == pytest.approx(left + width / 2, abs=1)
    assert state["now"] == 50
    outside = "return performance.getEntriesByType('resource').map(e => e.name)"
    assert [name for name in opened.run(outside) if not name.startswith("data:")] == []


def test_the_divider_is_dragged_on_the_picture(opened: Browser) -> None:
    before = opened.state()
    start = middle(before)
    opened.drag(start, (start[0] - 100, start[1] + 20))
    after = opened.state()
    assert after["divider"] == pytest.approx(before["divider"] - 100, abs=1.5)
    hidden = after["stage"][2] - after["divider"]
    assert float(re.findall(r"[\d.]+", after["clip"])[1]) == pytest.approx(hidden, abs=0.5)
    assert after["frames"] == before["frames"]
    opened.drag((start[0] - 100, start[1]), (5, start[1]))  # far beyond the picture's edge
    assert opened.state()["now"] == 0


def test_the_divider_is_a_slider_for_the_keyboard(opened: Browser) -> None:
    role = "const d = document.getElementById('divider'); d.focus(); return [d.role, d.tabIndex]"
    assert opened.run(role) == ["slider", 0]
    positions = []
    for key in (_LEFT, _LEFT, _RIGHT, _PAGE_UP, _HOME, _END):
        opened.press(key)
        positions.append(opened.state()["now"])
    assert positions == [49, 48, 49, 59, 0, 100]
    assert opened.state()["text"] == "100 %: bicubic on the left, tiny on the right"


def test_the_wheel_zooms_to_exact_pixels_around_the_pointer(opened: Browser) -> None:
    at = (middle(opened.state())[0] + 90, middle(opened.state())[1] - 60)
    for _ in range(2):
        opened.wheel(at, -120)
    before = opened.state()  # larger than the window, so that nothing centres it

    def under(state: dict[str, Any]) -> list[float]:
        left, top, width, height = state["frames"][0]
        return [(at[0] - left) / width * 120, (at[1] - top) / height * 90]

    for _ in range(2):
        opened.wheel(at, -120)
    after = opened.state()
    factor = after["frames"][0][2] / 120
    assert factor == int(factor) > before["frames"][0][2] / 120
    assert after["zoom"] == f"{int(factor) * 100} %"
    assert after["rendering"] == "pixelated"
    assert under(after) == pytest.approx(under(before), abs=0.2)
    assert after["frames"][0] == after["frames"][1]
    for _ in range(30):
        opened.wheel(at, 120)
    assert opened.state()["zoom"] == "100 %"


def test_dragging_away_from_the_divider_moves_both_pictures_together(opened: Browser) -> None:
    start = middle(opened.state())
    for _ in range(4):
        opened.wheel(start, -120)
    before = opened.state()
    opened.drag((start[0] + 200, start[1]), (start[0] + 140, start[1] + 35))
    after = opened.state()
    moved = [after["frames"][0][i] - before["frames"][0][i] for i in (0, 1)]
    assert moved == pytest.approx([-60, 35], abs=1)
    assert after["frames"][0] == after["frames"][1]
    assert after["divider"] == before["divider"]


def test_a_double_click_goes_to_exact_pixels_and_back(opened: Browser) -> None:
    at = (middle(opened.state())[0] + 150, middle(opened.state())[1])
    fitted = opened.state()["zoom"]
    click = [{"type": "pointerDown", "button": 0}, UP]
    twice = {"type": "pointer", "id": "mouse", "actions": [move(at), *click, *click]}
    opened.act(twice)
    assert opened.state()["zoom"] == "100 %"
    opened.act(twice)
    assert opened.state()["zoom"] == fitted


def test_keys_zoom_move_and_fit(opened: Browser) -> None:
    fitted = opened.state()["zoom"]
    opened.run("document.getElementById('stage').focus()")
    opened.press("+", "+")
    before = opened.state()
    opened.press(_RIGHT)
    assert opened.state()["frames"][1][0] == pytest.approx(before["frames"][1][0] - 40, abs=1)
    opened.press("1")
    assert opened.state()["zoom"] == "100 %"
    opened.press("0")
    assert opened.state()["zoom"] == fitted


def test_two_fingers_zoom_and_one_divides(page: Path, browser: Browser) -> None:
    _open(browser, page, 390, 800)
    before = browser.state()
    x, y = middle(before)

    def finger(name: str, *steps: dict[str, Any]) -> dict[str, Any]:
        kind = {"pointerType": "touch"}
        return {"type": "pointer", "id": name, "parameters": kind, "actions": list(steps)}

    down = {"type": "pointerDown", "button": 0}
    browser.act(finger("one", move((x, y)), down, move((x + 60, y)), UP))
    assert browser.state()["divider"] == pytest.approx(before["divider"] + 60, abs=2)
    browser.act(
        finger("one", move((x - 110, y)), down, move((x - 150, y), 50), UP),
        finger("two", move((x + 110, y)), down, move((x + 150, y), 50), UP),
    )
    factor = browser.state()["frames"][0][2] / 120
    assert factor == int(factor) > before["frames"][0][2] / 120


def _residual(browser: Browser, x: int, y: int) -> list[int]:
    script = (
        "const c = document.querySelector('#under canvas');"
        "return [...c.getContext('2d').getImageData(arguments[0], arguments[1], 1, 1).data]"
    )
    colour: list[int] = browser.run(script, x, y)
    return colour[:3]


def test_the_residual_shows_where_and_how_much_behind_a_toggle(opened: Browser) -> None:
    toggle = "document.getElementById('residual').click()"
    opened.run(f"document.getElementById('left').value = 'original'; {toggle}")
    wait_for(opened, "document.querySelectorAll('.frame canvas').length === 1")
    assert opened.run("return document.getElementById('legend').innerText").split() == (
        ["difference", "from", "original", "0", "100/255"]
    )
    assert _residual(opened, 0, 0) == [0, 0, 0]
    assert _residual(opened, 65, 45) == [255, 255, 255]
    assert _residual(opened, 10, 10) == [255, 64, 0]
    assert opened.run("return document.querySelectorAll('.frame img').length") == 1
    opened.run(toggle)
    wait_for(opened, "document.querySelectorAll('.frame canvas').length === 0")
    assert opened.run("return document.getElementById('legend').hidden")


def test_any_two_pictures_and_any_scene_can_be_chosen(opened: Browser) -> None:
    choose = (
        "const s = document.getElementById(arguments[0]); s.value = arguments[1];"
        "s.dispatchEvent(new Event('change'));"
    )
    shown = "document.querySelector('#over img')"
    for name in ("input", "original", "tiny", "bicubic"):
        opened.run(choose, "left", name)
        wait_for(opened, f"{shown}.alt === '{name}' && {shown}.naturalWidth > 0")
    opened.run(choose, "scene", "1")
    assert opened.run("return document.getElementById('note').textContent") == "Note of two."
    opened.run(choose, "left", "input")
    wait_for(opened, f"{shown}.naturalWidth === 30")
    sizes = opened.run("const s = document.querySelector('#over img').style; return [s.width]")
    assert sizes == ["120px"]
    figures = opened.run("return document.getElementById('figures').textContent")
    assert "tiny 30.00 dB, largest error 100/255" in figures


def test_a_script_can_give_the_page_other_pictures(opened: Browser) -> None:
    """As a service does that makes its pictures while the page is open."""
    replaced = (
        "const scene = JSON.parse(document.getElementById('scenes').textContent)[1];"
        "Object.assign(scene, {name: 'new', note: 'New.', left: 'original', layers: scene.layers"
        ".filter(one => one.name !== 'bicubic').map(one => ({...one, figures: {'': 'now'}}))});"
        "document.dispatchEvent(new CustomEvent('scenes', {detail: [scene]}));"
        "return document.getElementById('figures').textContent"
    )
    assert opened.run(replaced).split() == ["input", "now", "tiny", "now", "original", "now"]
    wait_for(opened, "document.querySelector('#over img').alt === 'original'")
    assert opened.run("return document.getElementById('scene').hidden")


@pytest.mark.parametrize("size", [(390, 800), (390, 500), (1280, 800)])
def test_nothing_scrolls_and_every_control_is_in_the_window(
    size: Point, page: Path, browser: Browser
) -> None:
    _open(browser, page, *size)
    root = "document.documentElement"
    sizes = browser.run(f"return [{root}.scrollWidth, {root}.scrollHeight]")
    assert sizes == list(size)
    outside = browser.run(
        "return [...document.querySelectorAll('button, select, summary, #figures')].filter(e => {"
        "const b = e.getBoundingClientRect();"
        "return b.left < 0 || b.top < 0 || b.right > innerWidth || b.bottom > innerHeight;"
        "}).length"
    )
    assert outside == 0
    assert browser.state()["stage"][3] > 200


def test_light_and_dark_follow_the_system(page: Path, browser: Browser) -> None:
    papers = []
    for scheme in ("light", "dark"):
        _open(browser, page, 600, 500, scheme)
        paper = browser.run("return getComputedStyle(document.body).backgroundColor")
        papers.append(sum(map(int, re.findall(r"\d+", paper))) / 3)
    assert papers[0] > 200
    assert papers[1] < 60


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
