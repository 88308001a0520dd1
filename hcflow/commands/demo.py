"""`hcflow demo`: four photographs downscaled and restored beside bicubic: pictures and a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image, ImageDraw
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import hcflow
from hcflow.cli import console, options
from hcflow.measure import bicubic
from hcflow.pages import compare as page
from hcflow.pages.compare import Layer, Scene
from hcflow_ref.images.photographs import photographs
from runtime.convert import psnr
from runtime.system import atomic

Array = np.ndarray[Any, np.dtype[np.uint8]]

PAGE = "compare.html"
"""The page's name in the folder."""

SHOWN = "astronaut"
DETAIL = (slice(48, 176), slice(160, 288))
"""What the side-by-side picture shows of it, enlarged twice: the face."""


def demo(
    *,
    output: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("demo"),
    model: options.ModelName = None,
    device: options.Device = None,
    as_json: options.Json = False,
) -> None:
    """Downscale and restore four photographs, with HCFlow and with bicubic.

    Writes the pictures and a page to compare them. The LR images are 8-bit PNG files; PSNR is on
    RGB without a border as wide as the scale; bicubic is MATLAB's.
    """
    network = hcflow.load(model, device=device)
    output.mkdir(parents=True, exist_ok=True)
    rows = []
    scenes = []
    for name, truth in photographs(network.scale).items():
        small_file = output / f"{name}-small.png"
        small = console.run(f"{name}: downscale", lambda: network.downscale(truth))  # noqa: B023
        _write(Image.fromarray(small), small_file)
        small = np.asarray(Image.open(small_file))
        restored = console.run(f"{name}: upscale", lambda: network.upscale(small))  # noqa: B023
        plain = bicubic.resize(bicubic.resize(truth, *small.shape[:2]), *truth.shape[:2])
        _write(Image.fromarray(restored), output / f"{name}-restored.png")
        rows.append(
            {
                "photograph": name,
                "bicubic": {"psnr": _psnr(plain, truth, network.scale)},
                "hcflow": {"psnr": _psnr(restored, truth, network.scale)},
            }
        )
        scenes.append(_scene(truth, small, plain, restored, rows[-1], network))
        if name == SHOWN:
            picture = side_by_side(truth, small, plain, restored, rows[-1])
            _write(picture, output / "side-by-side.png")
    title = "Four photographs, downscaled and restored"
    atomic.write(output / PAGE, page.render(title, scenes).encode("utf-8"))
    if as_json:
        about = {"tau": network.default_tau, "seed": 0, "page": str(output / PAGE)}
        print(json.dumps({**about, "photographs": rows}))
    else:
        _show(rows, network, output)


def _scene(
    truth: Array,
    small: Array,
    plain: Array,
    restored: Array,
    row: dict[str, Any],
    network: hcflow.Model,
) -> Scene:
    """One photograph for the page."""
    name = network.manifest.name
    sizes = [f"{each.shape[1]}×{each.shape[0]}" for each in (small, truth)]
    return Scene(
        row["photograph"],
        (truth.shape[1], truth.shape[0]),
        [
            Layer("downscaled", Image.fromarray(small), {"": sizes[0]}, network.scale),
            Layer("bicubic", Image.fromarray(plain), {"": f"{row['bicubic']['psnr']:.2f} dB"}),
            Layer(name, Image.fromarray(restored), {"": f"{row['hcflow']['psnr']:.2f} dB"}),
            Layer("original", Image.fromarray(truth), {"": sizes[1]}),
        ],
        "bicubic",
        name,
        "original",
        f"{name} ×{network.scale}, τ = {network.default_tau:g}, seed 0; the downscaled picture is "
        f"its own. Bicubic is MATLAB's, of its own downscale. PSNR on RGB against the original, "
        f"without a border of {network.scale} pixels, in 8 bits.",
    )


def _write(picture: Image.Image, path: Path) -> None:
    """A PNG file, whole or not at all."""
    with atomic.replacement(path) as temporary:
        picture.save(temporary, "PNG")


def _psnr(image: Array, truth: Array, border: int) -> float:
    """PSNR in dB inside a border, to two decimals."""
    inside = (slice(border, -border), slice(border, -border))
    return round(psnr.psnr(image[inside], truth[inside]), 2)


def _show(rows: list[dict[str, Any]], network: hcflow.Model, output: Path) -> None:
    name = escape(console.shown(network.manifest.name))
    table = Table(
        title=f"downscaled and restored ×{network.scale}, model '{name}', "
        f"τ = {network.default_tau:g}, seed 0"
    )
    table.add_column("photograph")
    for column in ("bicubic PSNR dB", "HCFlow PSNR dB", "gain dB"):
        table.add_column(column, justify="right")
    for row in rows:
        plain, ours = row["bicubic"], row["hcflow"]
        table.add_row(
            row["photograph"],
            f"{plain['psnr']:.2f}",
            f"{ours['psnr']:.2f}",
            f"{ours['psnr'] - plain['psnr']:+.2f}",
        )
    Console().print(table)
    folder, picture, compared = (
        console.shown(str(each)) for each in (output, output / "side-by-side.png", output / PAGE)
    )
    print(f"pictures: {folder}, side by side: {picture}")
    print(f"to compare them, open {compared} in a browser")


def side_by_side(
    truth: Array, small: Array, plain: Array, restored: Array, row: dict[str, Any]
) -> Image.Image:
    """Original, LR, bicubic and HCFlow of one detail; the captions' font knows ASCII only."""
    scale = truth.shape[0] // small.shape[0]
    panels = [
        (f"original {truth.shape[1]}x{truth.shape[0]}", truth[DETAIL]),
        (
            f"downscaled to {small.shape[1]}x{small.shape[0]}",
            small.repeat(scale, 0).repeat(scale, 1)[DETAIL],
        ),
        (f"bicubic, {row['bicubic']['psnr']:.2f} dB", plain[DETAIL]),
        (f"HCFlow, {row['hcflow']['psnr']:.2f} dB", restored[DETAIL]),
    ]
    height, width = (2 * side for side in truth[DETAIL].shape[:2])
    margin, caption = 8, 26
    canvas = Image.new(
        "RGB", (len(panels) * (width + margin) + margin, height + caption + margin), "white"
    )
    draw = ImageDraw.Draw(canvas)
    for index, (text, panel) in enumerate(panels):
        left = margin + index * (width + margin)
        picture = Image.fromarray(panel).resize((width, height), Image.Resampling.NEAREST)
        canvas.paste(picture, (left, caption))
        draw.text((left, 4), text, fill="black", font_size=16)
    return canvas
