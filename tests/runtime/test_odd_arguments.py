"""Whatever stands in for an argument of the public API ends in a result or in one of our errors."""

from __future__ import annotations

import io
import itertools
import threading
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import hcflow
import runtime
from runtime import Bundle, HcflowError, Model
from runtime.system import machine
from tests.support.bundles import write_bundle

DOT = np.zeros((4, 4, 3), np.uint8)
LR = np.zeros((1, 3, 4, 4), np.float32)


class Hostile:
    """Every conversion raises."""

    def __repr__(self) -> str:
        raise ValueError("repr")

    __str__ = __index__ = __float__ = __len__ = __iter__ = __bool__ = __fspath__ = __repr__  # type: ignore[assignment]


class Lying:
    """An index, a path and a length of wrong types."""

    def __fspath__(self) -> Any:
        return 5

    __index__ = __len__ = __fspath__


def _closed() -> Image.Image:
    image = Image.new("L", (4, 4))
    image.close()
    return image


def _cut_off() -> Image.Image:
    """A Pillow image that is decoded on first use, of a file that ends too early."""
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 80).save(buffer, "PNG")
    return Image.open(io.BytesIO(buffer.getvalue()[:1000]))


def _loop() -> list[Any]:
    loop: list[Any] = []
    loop.append(loop)
    return loop


ODD: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "True": lambda: True,
    "-1": lambda: -1,
    "0": lambda: 0,
    "1": lambda: 1,
    "2**62": lambda: 2**62,
    "10**400": lambda: 10**400,
    "10**5000": lambda: 10**5000,
    "-0.0": lambda: -0.0,
    "nan": lambda: float("nan"),
    "inf": lambda: float("inf"),
    "1j": lambda: 1j,
    "a third": lambda: Fraction(1, 3),
    "a large fraction": lambda: Fraction(10**400, 3),
    "Decimal": lambda: Decimal("1.5"),
    "no text": lambda: "",
    "long text": lambda: "x" * 5000,
    "NUL": lambda: "a\0b",
    "half a pair": lambda: "\udce4\ud800",
    "bytes": lambda: b"x",
    "a path": lambda: Path("/nowhere/at/all"),
    "a long path": lambda: Path("/" + "y" * 5000),
    "a long path of a picture": lambda: "y" * 5000 + ".png",
    "a long path in long folders": lambda: "z" * 5000 + "/y.png",
    "NUL in a picture's path": lambda: "a\0b.png",
    "half a pair in a path": lambda: "\udce4\ud800.png",
    "a folder": lambda: "/",
    "a device": lambda: "/dev/null",
    "[]": list,
    "a list that holds itself": _loop,
    "{}": dict,
    "{None}": lambda: {None},
    "no end": itertools.count,
    "a long range": lambda: range(2**40),
    "object": object,
    "a class": lambda: Model,
    "a function": lambda: lambda: 5,
    "a lock": threading.Lock,
    "hostile": Hostile,
    "lying": Lying,
    "no numbers": lambda: np.array([]),
    "two numbers": lambda: np.array([1, 2]),
    "objects": lambda: np.array([None, "x"], object),
    "objects of an image's shape": lambda: np.full((4, 4, 3), None),
    "a record": lambda: np.zeros(4, [("a", "f4")]),
    "a date": lambda: np.zeros((4, 4), "M8[s]"),
    "long double": lambda: np.zeros((4, 4), np.longdouble),
    "a scalar array": lambda: np.array(1.0),
    "masked": lambda: np.ma.masked_array(DOT, mask=True),
    "a large image of nothing": lambda: np.broadcast_to(np.uint8(0), (1 << 20, 1 << 20, 3)),
    "five axes": lambda: np.zeros((1, 1, 1, 1, 1), np.float32),
    "a closed image": _closed,
    "a cut-off image": _cut_off,
    "an image without pixels": lambda: Image.new("RGB", (0, 4)),
    "an image of floats": lambda: Image.new("F", (4, 4), float("nan")),
}


def _keywords(method: str, image: Any, names: str, **more: Any) -> dict[str, Any]:
    return {
        f"{method}({name}=)": (lambda m, x, n=name: getattr(m, method)(image, **{n: x}, **more))
        for name in names.split()
    }


_SHARED = "size tau seed tau_map tile overlap report cancel"
CALLS: dict[str, Callable[[Model, Any], Any]] = {
    "upscale": lambda m, x: m.upscale(x),
    "upscale([x])": lambda m, x: m.upscale([x]),
    **_keywords("upscale", DOT, f"{_SHARED} samples latents"),
    "upscale(latents=[x])": lambda m, x: m.upscale(DOT, latents=[x]),
    "upscale(latents=[x, x])": lambda m, x: m.upscale(DOT, latents=[x, x]),
    "upscale(size=(x, 16))": lambda m, x: m.upscale(DOT, size=(x, 16)),
    "upscale(tau_map=)": lambda m, x: m.upscale(DOT, tau=1, tau_map=x),
    "uncertainty": lambda m, x: m.uncertainty(x, samples=2),
    **_keywords("uncertainty", DOT, _SHARED, samples=2),
    "uncertainty(samples=)": lambda m, x: m.uncertainty(DOT, samples=x, tau=0.5, tile=1, overlap=0),
    "downscale": lambda m, x: m.downscale(x),
    **_keywords("downscale", DOT, "tile overlap report cancel"),
    "encode": lambda m, x: m.encode(x),
    "decode": lambda m, x: m.decode(x),
    "decode(latents)": lambda m, x: m.decode(LR, x),
    "decode([x, x])": lambda m, x: m.decode(LR, [x, x]),
    "Model": lambda m, x: Model(x),
    "Network(bundle)": lambda m, x: runtime.Network(x, "onnxruntime", "fp32", None),
    "draw(height)": lambda m, x: m.network.draw_latents(x, 4, 0, 0, 1.0),
    "draw(width)": lambda m, x: m.network.draw_latents(4, x, 0, 0, 1.0),
    "draw(seed)": lambda m, x: m.network.draw_latents(4, 4, x, 0, 1.0),
    "draw(sample)": lambda m, x: m.network.draw_latents(4, 4, 0, x, 1.0),
    "draw(tau)": lambda m, x: m.network.draw_latents(4, 4, 0, 0, x),
    "shapes": lambda m, x: m.network.latent_shapes(x, x, x),
}

OPENINGS: dict[str, Callable[[Path, Any], Any]] = {
    "hcflow.load": lambda b, x: None if x is None else hcflow.load(x),
    "runtime.load": lambda b, x: runtime.load(x),
    "Bundle.open": lambda b, x: Bundle.open(x),
    "load(backend=)": lambda b, x: hcflow.load(b, backend=x),
    "load(precision=)": lambda b, x: hcflow.load(b, precision=x),
    "load(threads=)": lambda b, x: hcflow.load(b, threads=x),
    "load(io=)": lambda b, x: hcflow.load(b, io=x),
    "Network(backend)": lambda b, x: runtime.Network(Bundle.open(b), x, "fp32", None),
    "Network(precision)": lambda b, x: runtime.Network(Bundle.open(b), "onnxruntime", x, None),
    "Network(threads)": lambda b, x: runtime.Network(Bundle.open(b), "onnxruntime", "fp32", x),
    "Bundle.graph(direction)": lambda b, x: Bundle.open(b).graph(x, "fp32", None),
    "Bundle.graph(precision)": lambda b, x: Bundle.open(b).graph("inverse", x, None),
    "Bundle.graph(io)": lambda b, x: Bundle.open(b).graph("inverse", "fp32", None, x),
    "Bundle.read(file)": lambda b, x: Bundle.open(b).read(x, "0" * 64),
    "Bundle.read(sha256)": lambda b, x: Bundle.open(b).read("manifest.json", x),
}

_OPTIONS = (
    [
        "backend",
        "precision",
        "threads",
        "io",
        "tile",
        "overlap",
        "max_pixels",
        "strips",
        "force",
        "cancel",
    ],
    ["tau", "seed", "size", "obey_record", "salvage"],
    ["round_trip"],
)


@pytest.fixture(autouse=True)
def _little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "available_memory", lambda: 1 << 28)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "b", tile=8, overlap=2)


def _foreign(call: Callable[[Any], Any]) -> dict[str, str]:
    """What each odd value raises that is none of ours."""
    found = {}
    for name, make in ODD.items():
        try:
            call(make())
        except HcflowError as error:
            text = str(error)
            if len(text) > 300 + 11000 * ("path" in name or "text" in name) or "\n" in text:
                found[name] = f"a message of {len(text)} characters: {text[:200]!r}"
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}"
    return found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_a_model_raises_our_errors_only(bundle: Path, call: Callable[[Model, Any], Any]) -> None:
    model = runtime.load(bundle)
    assert _foreign(lambda value: call(model, value)) == {}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("call", OPENINGS.values(), ids=OPENINGS.keys())
def test_opening_raises_our_errors_only(bundle: Path, call: Callable[[Path, Any], Any]) -> None:
    assert _foreign(lambda value: call(bundle, value)) == {}


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.fromarray(DOT).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


_DIRECTIONS = [hcflow.upscale_file, hcflow.downscale_file]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("convert", _DIRECTIONS)
def test_names_of_files_raise_our_errors_only(
    photo: Path, bundle: Path, convert: Callable[..., Any]
) -> None:
    output = photo.with_name("result.png")
    assert _foreign(lambda value: convert(value, output, model=bundle)) == {}
    assert _foreign(lambda value: convert(photo, value, model=bundle)) == {}
    assert _foreign(lambda value: None if value is None else hcflow.load(value)) == {}


@pytest.mark.slow  # a thousand conversions
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("convert", _DIRECTIONS)
def test_options_of_files_raise_our_errors_only(
    photo: Path, bundle: Path, convert: Callable[..., Any]
) -> None:
    output = photo.with_name("result.png")
    both, up, down = _OPTIONS
    for option in [*both, *(up if convert is hcflow.upscale_file else down)]:
        found = _foreign(lambda value, o=option: convert(photo, output, model=bundle, **{o: value}))
        assert found == {}, option
