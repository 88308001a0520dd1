"""Rendered training pictures: text, line art, screens, gray photographs, plain colours, textures.

`python -m hcflow_ref.training.data.rendered DIR --photographs PHOTOS --seed S --count N` writes N
8-bit RGB PNGs and `images.json`, the list of files, kinds and sizes. The same fonts, photographs,
seed and count give the same pixels with the same Pillow. `--fetch` first unpacks Debian's font
packages into the folder of `--fonts`.

Half of the pictures are strips, `STRIP` pixels high: training with `data.short_sides` above that
does not downscale them, so that text stays as sharp as it was drawn.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from hcflow_ref.errors import TrainingError, one_line
from hcflow_ref.training.data.rendering_materials import (
    SIZES,
    Colour,
    Random,
    Sources,
    colour,
    fetch_fonts,
    find_sources,
    two_colours,
)

STRIP = 288
"""Height of a strip in pixels."""

KINDS = {"text": 22, "line-art": 14, "screen": 10, "gray": 9, "plain": 6, "texture": 4}
"""Pictures of each kind out of their sum."""


@dataclass(frozen=True)
class Entry:
    """A picture of the list, its file relative to it."""

    file: str
    kind: str
    width: int
    height: int


def draw_on(image: Image.Image, rng: Random) -> ImageDraw.ImageDraw:
    """Where to draw; letters are antialiased in three of four cases."""
    draw = ImageDraw.Draw(image)
    draw.fontmode = "L" if rng.random() < 0.75 else "1"
    return draw


def write_lines(
    draw: ImageDraw.ImageDraw,
    box: tuple[int, int, int, int],
    ink: Colour,
    *,
    rng: Random,
    sources: Sources,
    sizes: tuple[int, ...] = SIZES,
) -> None:
    """Fill a box (left, top, right, bottom) with lines of text, in runs of one font and size."""
    left, top, right, bottom = box
    while top < bottom:
        size = int(rng.choice(sizes))
        text, font = sources.sentence(rng, size)
        for _ in range(int(rng.integers(1, 5))):
            words = text.split(" ")
            line = " ".join(words[i] for i in rng.permutation(len(words)))
            while draw.textlength(line, font=font) < right - left:
                line += " " + line
            draw.text((left, top), line, fill=ink, font=font)
            top += round(size * float(rng.uniform(1.1, 1.5)))


def text_picture(rng: Random, size: tuple[int, int], sources: Sources) -> Image.Image:
    """Pages of text: columns of one ground and ink each."""
    width, height = size
    image = Image.new("RGB", size)
    draw = draw_on(image, rng)
    columns = int(rng.integers(1, 4))
    for column in range(columns):
        left, right = width * column // columns, width * (column + 1) // columns
        ground, ink = two_colours(rng)
        draw.rectangle((left, 0, right, height), fill=ground)
        write_lines(draw, (left + 8, 4, right, height), ink, rng=rng, sources=sources)
    return image


def _figure(draw: ImageDraw.ImageDraw, box: NDArray[np.int64], ink: Colour, rng: Random) -> None:
    """One figure in a box (left, top, right, bottom): a curve, shape, grid, bars or hatching."""
    left, top, right, bottom = (int(v) for v in box)
    width = int(rng.choice([1, 1, 1, 2, 2, 3, 5])) * max(1, (right - left) // 220)
    kind = rng.integers(7)
    if kind == 0:
        x = np.linspace(left, right, 200)
        t = (x - left) / (right - left)
        y = np.sin(rng.uniform(3, 30) * t) * np.exp(-rng.uniform(0, 3) * t) * (bottom - top) / 2
        points = zip(x.tolist(), (y + (top + bottom) / 2).tolist(), strict=True)
        draw.line(list(points), fill=ink, width=width)
        draw.line((left, top, left, bottom, right, bottom), fill=ink, width=width)
    elif kind == 1:
        draw.ellipse((left, top, right, bottom), outline=ink, width=width)
        draw.line((left, top, right, bottom), fill=ink, width=width)
    elif kind == 2:
        draw.rounded_rectangle((left, top, right, bottom), 12, outline=ink, width=width)
        draw.polygon([(left, top), (right, (top + bottom) // 2), (left, bottom)], fill=ink)
    elif kind == 3:
        cells = int(rng.integers(3, 16))
        for i in range(cells + 1):
            x0, y0 = left + (right - left) * i // cells, top + (bottom - top) * i // cells
            draw.line((x0, top, x0, bottom), fill=ink, width=width)
            draw.line((left, y0, right, y0), fill=ink, width=width)
    elif kind == 4:
        bars = int(rng.integers(4, 20))
        for i in range(bars):
            x0, x1 = (left + (right - left) * (2 * i + k) // (2 * bars) for k in (0, 1))
            draw.rectangle((x0, int(rng.integers(top, bottom)), x1, bottom), fill=ink)
    elif kind == 5:
        gap = int(rng.integers(2, 9)) * width
        for x0 in range(left, right, gap + width):
            draw.line((x0, bottom, x0 + (bottom - top) // 2, top), fill=ink, width=width)
    else:
        corners = [
            (int(rng.integers(left, right)), int(rng.integers(top, bottom))) for _ in "12345"
        ]
        draw.polygon(corners, outline=ink, width=width)
        draw.arc((left, top, right, bottom), 0, int(rng.integers(90, 360)), fill=ink, width=width)


def line_art(rng: Random, size: tuple[int, int], sources: Sources) -> Image.Image:
    """Figures in cells with captions, drawn four times larger and averaged, or with hard edges."""
    factor = 4 if rng.random() < 0.7 else 1
    width, height = (side * factor for side in size)
    ground, ink = two_colours(rng)
    image = Image.new("RGB", (width, height), ground)
    draw = draw_on(image, rng)
    cell = int(rng.integers(70, 200)) * factor
    for top in range(0, height, cell):
        for left in range(0, width, cell):
            shift = rng.integers(0, cell // 4, size=4)
            box = np.array([left, top, left + cell, top + cell]) + shift * np.array([1, 1, -1, -1])
            _figure(draw, box, ink if rng.random() < 0.6 else colour(rng), rng)
            if rng.random() < 0.4:
                text, font = sources.sentence(rng, int(rng.integers(9, 20)) * factor)
                draw.text((left, top), text[:12], fill=ink, font=font)
    return image.resize(size, Image.Resampling.BOX) if factor > 1 else image


def screen(rng: Random, size: tuple[int, int], sources: Sources) -> Image.Image:
    """Overlapping windows with title bars, buttons, tables and text, on a plain ground."""
    width, height = size
    image = Image.new("RGB", size, colour(rng))
    draw = draw_on(image, rng)
    for _ in range(max(6, width * height // 50_000)):
        left, top = int(rng.integers(-40, width - 80)), int(rng.integers(-40, height - 80))
        right, bottom = left + int(rng.integers(160, 480)), top + int(rng.integers(120, 360))
        ground, ink = two_colours(rng)
        layer = Image.new("RGB", (right - left, bottom - top), ground)
        inside = draw_on(layer, rng)
        write_lines(inside, (10, 34, *layer.size), ink, rng=rng, sources=sources)
        if rng.random() < 0.5:
            side = int(rng.integers(16, 60))
            for y in range(30, layer.height, side):
                inside.line((0, y, layer.width, y), fill=ink)
        inside.rectangle((0, 0, layer.width, 26), fill=colour(rng))
        write_lines(inside, (30, 5, 120, 6), ink, rng=rng, sources=sources, sizes=(11, 13))
        for button in range(3):
            place = (layer.width - 24 * (button + 1), 6, layer.width - 24 * button - 10, 20)
            inside.rounded_rectangle(place, 4, fill=colour(rng), outline=ink)
        inside.rectangle((0, 0, layer.width - 1, layer.height - 1), outline=ink)
        image.paste(layer, (left, top))
    draw.line((0, height - 30, width, height - 30), fill=colour(rng), width=2)
    return image


def gray_photograph(rng: Random, size: tuple[int, int], sources: Sources) -> Image.Image:
    """A photograph's luma as R = G = B, cut to size; a texture where there is none."""
    if not sources.photographs:
        return texture(rng, size, sources).convert("L").convert("RGB")
    path = sources.photographs[rng.integers(len(sources.photographs))]
    with Image.open(path) as file:
        gray = file.convert("RGB").convert("L")
    ratio = max(size[0] / gray.width, size[1] / gray.height) * float(rng.uniform(1.0, 1.5))
    gray = gray.resize((round(gray.width * ratio), round(gray.height * ratio)))
    x, y = ((full - side) // 2 for full, side in zip(gray.size, size, strict=True))
    return gray.crop((x, y, x + size[0], y + size[1])).convert("RGB")


def plain(rng: Random, size: tuple[int, int], sources: Sources) -> Image.Image:
    """One colour, or a slow change between four; in places the values are dithered."""
    corners = np.array([colour(rng) for _ in range(4)], np.float32).reshape(2, 2, 3)
    if rng.random() < 0.3:
        return Image.new("RGB", size, colour(rng))
    x, y = (np.linspace(0, 1, side, dtype=np.float32)[:, None] for side in size)
    rows = [corners[i, 0] * (1 - x) + corners[i, 1] * x for i in range(2)]
    values = rows[0][None] * (1 - y[:, None]) + rows[1][None] * y[:, None]
    if rng.random() < 0.3:
        values = values + rng.uniform(-0.5, 0.5, values.shape)
    return Image.fromarray(values.round().clip(0, 255).astype(np.uint8))


def texture(rng: Random, size: tuple[int, int], sources: Sources) -> Image.Image:
    """Saturated mosaics, checks and noise of several grains, side by side."""
    image = Image.new("RGB", size)
    tile = 144
    for top in range(0, size[1], tile):
        for left in range(0, size[0], tile):
            cells = tile // int(rng.choice([1, 2, 3, 4, 6, 8, 12, 24]))
            if rng.random() < 0.3:
                values = rng.normal(
                    rng.integers(256, size=3), rng.uniform(2, 60), (cells, cells, 3)
                )
            else:
                palette = np.array([colour(rng) for _ in range(int(rng.integers(2, 6)))])
                values = palette[rng.integers(len(palette), size=(cells, cells))]
            part = Image.fromarray(values.clip(0, 255).astype(np.uint8))
            filters = (Image.Resampling.NEAREST, Image.Resampling.BICUBIC)
            part = part.resize((tile, tile), filters[rng.integers(2)])
            image.paste(part, (left, top))
    return image


DRAWN: dict[str, Callable[[Random, tuple[int, int], Sources], Image.Image]] = {
    "text": text_picture,
    "line-art": line_art,
    "screen": screen,
    "gray": gray_photograph,
    "plain": plain,
    "texture": texture,
}


def kinds(count: int) -> list[str]:
    """`count` kinds, in shares near those of `KINDS`, each as long as there are enough."""
    ends = np.cumsum([0, *KINDS.values()]) / sum(KINDS.values()) * count
    return [
        kind
        for i, kind in enumerate(KINDS)
        for _ in range(round(float(ends[i + 1])) - round(float(ends[i])))
    ]


def build(folder: Path, sources: Sources, seed: int, count: int) -> list[Entry]:
    """Write `count` pictures and `images.json` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for index, kind in enumerate(kinds(count)):
        rng = np.random.default_rng([seed, index])
        page = (int(rng.integers(600, 901)), int(rng.integers(480, 761)))
        size = (int(rng.integers(900, 1201)), STRIP) if rng.random() < 0.5 else page
        image = DRAWN[kind](rng, size, sources)
        name = f"{index:03d}-{kind}.png"
        image.save(folder / name)
        entries.append(Entry(name, kind, *size))
    listing = json.dumps({"seed": seed, "images": [asdict(e) for e in entries]}, indent=2)
    (folder / "images.json").write_text(listing + "\n", encoding="utf-8")
    return entries


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, help="where the pictures go")
    parser.add_argument("--fonts", type=Path, default=Path("/usr/share/fonts"))
    parser.add_argument("--photographs", type=Path, required=True, help="for gray photographs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=sum(KINDS.values()))
    parser.add_argument("--fetch", action="store_true", help="first fetch the font packages")
    arguments = parser.parse_args()
    try:
        if arguments.fetch:
            fetch_fonts(arguments.fonts)
        sources = find_sources(arguments.fonts, arguments.photographs, arguments.folder)
        entries = build(arguments.folder, sources, arguments.seed, arguments.count)
    except (OSError, TrainingError) as error:
        print(f"rendered: {one_line(error)}", file=sys.stderr)
        return 1
    print(f"{len(entries)} pictures in {arguments.folder}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
