"""Pictures before numbers, of docs/pictures.md: `python -m benchmarks.pictures HOLDOUT`.

HOLDOUT is a folder of rendered pictures that no training has seen:
`python -m hcflow_ref.training.data.rendered HOLDOUT --seed 2 --count 26 --photographs DIR --fonts
DIR --fetch`. Its first pictures of each kind and two of the four photographs are converted as the
product converts them, and central crops are shown at 100 %.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import hcflow
from hcflow_ref.evaluation.metrics import bicubic_downscale, bicubic_upscale, fidelity
from hcflow_ref.images.files import read_image
from hcflow_ref.images.photographs import photograph
from hcflow_ref.images.pixels import Pixels, crop_centre, crop_to_multiple

DOCS = Path(__file__).parents[1] / "docs"
PHOTOGRAPHS = ("astronaut", "coffee")
KINDS = {"text": 2, "line-art": 1, "screen": 1}
"""How many pictures of each kind."""

SIDE, SCALE, GAP, CAPTION = 192, 4, 6, 18
QUALITY = 92

Cell = tuple[str, Pixels]


def sources(holdout: Path) -> list[Pixels]:
    """The originals, sides multiples of the scale."""
    found = [photograph(name, SCALE) for name in PHOTOGRAPHS]
    for kind, count in KINDS.items():
        paths = sorted(holdout.glob(f"*-{kind}.png"))[:count]
        found += [crop_to_multiple(read_image(path), SCALE) for path in paths]
    return found


def rescaled(model: hcflow.Model, truth: Pixels) -> list[Cell]:
    """Downscaled by the network and restored, beside bicubic both ways."""
    small = np.asarray(model.downscale(truth))
    bicubic_small = bicubic_downscale(truth, SCALE)
    bicubic = bicubic_upscale(bicubic_small, SCALE)
    restored = np.asarray(model.upscale(small))
    return [
        ("original", truth),
        ("LR: bicubic", bicubic_small),
        ("LR: HCFlow", small),
        (_figure("bicubic", bicubic, truth), bicubic),
        (_figure("HCFlow", restored, truth), restored),
    ]


def enlarged(model: hcflow.Model, truth: Pixels) -> list[Cell]:
    """The bicubic LR image enlarged, beside bicubic."""
    small = bicubic_downscale(truth, SCALE)
    bicubic, made = bicubic_upscale(small, SCALE), np.asarray(model.upscale(small))
    return [
        ("given", small),
        (_figure("bicubic", bicubic, truth), bicubic),
        (_figure("HCFlow", made, truth), made),
        ("truth", truth),
    ]


def _figure(name: str, made: Pixels, truth: Pixels) -> str:
    return f"{name}: {fidelity(made, truth, SCALE).psnr:.1f} dB"


def sheet(rows: Sequence[list[Cell]]) -> Image.Image:
    """Crops side by side under their captions; a small image's crop shows the same place."""
    full = rows[0][-1][1].shape[0]
    sides = [SIDE if cell[1].shape[0] == full else SIDE // 2 for cell in rows[0]]
    width = sum(sides) + GAP * (len(sides) + 1)
    canvas = Image.new("RGB", (width, len(rows) * (SIDE + CAPTION + GAP)), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(11)
    for row, cells in enumerate(rows):
        x, y = GAP, row * (SIDE + CAPTION + GAP)
        for side, (caption, pixels) in zip(sides, cells, strict=True):
            shown = SIDE if side == SIDE else SIDE // SCALE
            draw.text((x, y + 2), caption, "black", font)
            canvas.paste(Image.fromarray(crop_centre(pixels, shown)), (x, y + CAPTION))
            x += side + GAP
    return canvas


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("holdout", type=Path)
    given = sources(parser.parse_args().holdout)
    for name, cells in (("rescale_x4", rescaled), ("sr_x4", enlarged)):
        model = hcflow.load(name)
        made = sheet([cells(model, truth) for truth in given])
        path = DOCS / f"pictures-{name}.webp"
        made.save(path, quality=QUALITY, method=6)
        print(f"{path.relative_to(DOCS.parent)}: {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
