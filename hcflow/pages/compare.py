"""A self-contained HTML page: two images under a slider, a residual heat map, and figures."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from string import Template

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from runtime.images.pixels.arrays import Planes

# Black, dark red, orange, yellow, white: the stops of the page's own ramp.
_STOPS = np.array([[0, 0, 0], [128, 0, 0], [255, 64, 0], [255, 192, 0], [255, 255, 255]], float)
_PERCENTILE = 99.9  # so that a single pixel does not set what is brightest


@dataclass(frozen=True)
class Layer:
    """One picture of the page and its row of figures."""

    name: str
    image: Image.Image
    figures: Mapping[str, str]


@dataclass(frozen=True)
class Residual:
    """A heat map, what it is of, and what its brightest colour stands for, in 255ths."""

    image: Image.Image
    title: str
    ceiling: float


def residual(first: Planes, second: Planes, title: str) -> Residual:
    """The heat map of two planes [3, H, W]: the largest difference of a pixel's colours."""
    difference = np.abs(first - second).max(axis=0) * 255
    ceiling = max(float(np.percentile(difference, _PERCENTILE)), 1.0)
    return Residual(_heat(difference / ceiling), title, ceiling)


def render(
    title: str, layers: Sequence[Layer], heat: Residual, left: str, right: str, note: str
) -> str:
    """The page; `left` and `right` name the layers shown first. All layers have one size."""
    width, height = layers[0].image.size
    names = [layer.name for layer in layers]
    heads = list(dict.fromkeys(key for layer in layers for key in layer.figures))
    rows = "".join(
        f"<tr><td>{html.escape(layer.name)}</td>"
        + "".join(f'<td class="n">{html.escape(layer.figures.get(h, ""))}</td>' for h in heads)
        + "</tr>"
        for layer in layers
    )
    images = {layer.name: _data_uri(layer.image) for layer in layers}
    images["residual"] = _data_uri(heat.image)
    template = resources.files("hcflow").joinpath("pages/compare.html").read_text(encoding="utf-8")
    return Template(template).substitute(
        title=html.escape(title),
        options="".join(f"<option>{html.escape(n)}</option>" for n in [*names, "residual"]),
        width=width,
        height=height,
        heads="".join(f"<th>{html.escape(h)}</th>" for h in heads),
        rows=rows,
        residual=html.escape(heat.title),
        ceiling=f"{heat.ceiling:.1f}",
        note=html.escape(note),
        images=json.dumps(images),
        left=left,
        right=right,
    )


def _heat(share: NDArray[np.float32]) -> Image.Image:
    at = np.clip(share, 0, 1) * (len(_STOPS) - 1)
    stops = np.arange(len(_STOPS))
    channels = [np.interp(at, stops, _STOPS[:, c]) for c in range(3)]
    return Image.fromarray(np.rint(np.stack(channels, axis=-1)).astype(np.uint8))


def _data_uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
