"""A self-contained HTML page: pictures under a divider, zoomed together, residuals and figures."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from string import Template
from typing import Any

from PIL import Image

LOSSLESS_PIXELS = 4_000_000
"""Pictures of more pixels are stored as JPEG: four lossless ones of 12 MP would be 60 MB."""

_JPEG_QUALITY = 95
_POLICY = (
    "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
)
_WEBP_SIDE, _JPEG_SIDE = 16_383, 65_535  # the formats' limits


@dataclass(frozen=True)
class Layer:
    """One picture of a scene.

    Attributes:
        name: shown where pictures are chosen; one of its kind in a scene.
        image: RGB; of the scene's size, or smaller by `scale`.
        figures: what is said about it, by name; an empty name adds none.
        scale: how many pixels of the scene, across and down, one of its pixels covers.
    """

    name: str
    image: Image.Image
    figures: Mapping[str, str]
    scale: int = 1


@dataclass(frozen=True)
class Scene:
    """Pictures of one subject that are compared.

    Attributes:
        name: shown where scenes are chosen.
        size: width and height in pixels.
        layers: the pictures, in the order of the choice.
        left, right: names of the layers shown first.
        reference: name of the layer that residuals are differences from.
        note: how the figures were measured.
    """

    name: str
    size: tuple[int, int]
    layers: Sequence[Layer]
    left: str
    right: str
    reference: str
    note: str


def render(title: str, scenes: Sequence[Scene]) -> str:
    """The page as one text that needs nothing but itself; the first scene is shown first."""
    data = json.dumps([_scene(scene) for scene in scenes], ensure_ascii=False)
    return page(title, data)


def page(
    title: str,
    scenes: str,
    *,
    tools: str = "",
    style: str = "",
    script: str = "",
    sources: str = "",
) -> str:
    """The page of scenes that are there, or that a script brings.

    Args:
        title: of the page.
        scenes: JSON, as `compare_view.js` describes it.
        tools: HTML before the pictures.
        style: CSS after the page's own.
        script: JavaScript after the page's own, in the same scope.
        sources: what the script may load, as a Content-Security-Policy says it; else nothing.
    """
    return Template(part("compare.html")).substitute(
        title=html.escape(title),
        kind="" if scenes != "[]" else ' class="empty"',
        policy=f"{_POLICY}; {sources}" if sources else _POLICY,
        style=part("compare.css") + style,
        tools=tools,
        view=part("compare_view.js"),
        layers=part("compare_layers.js"),
        script=script,
        scenes=scenes.replace("<", "\\u003c"),  # no name can end the element
    )


def part(name: str) -> str:
    """A file beside this module, as text."""
    return resources.files("hcflow").joinpath("pages", name).read_text(encoding="utf-8")


def _scene(scene: Scene) -> dict[str, Any]:
    note = scene.note
    if any(_is_large(layer.image) for layer in scene.layers):
        note += (
            f" Pictures of more than {LOSSLESS_PIXELS // 1_000_000} megapixels are shown as JPEG, "
            f"quality {_JPEG_QUALITY}; the figures are those of the exact pixels."
        )
    return {
        "name": scene.name,
        "width": scene.size[0],
        "height": scene.size[1],
        "left": scene.left,
        "right": scene.right,
        "reference": scene.reference,
        "note": note,
        "layers": [
            {
                "name": layer.name,
                "src": _data_uri(layer.image),
                "scale": layer.scale,
                "figures": dict(layer.figures),
            }
            for layer in scene.layers
        ],
    }


def _is_large(image: Image.Image) -> bool:
    return image.width * image.height > LOSSLESS_PIXELS


def _data_uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    side = max(image.size)
    if _is_large(image) and side <= _JPEG_SIDE:
        kind = "jpeg"
        image.save(buffer, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    elif side <= _WEBP_SIDE:
        kind = "webp"
        image.save(buffer, "WEBP", lossless=True, quality=50, method=2)
    else:
        kind = "png"
        image.save(buffer, "PNG")
    return f"data:image/{kind};base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
