"""An evaluation as a table, as JSON, and as a contact sheet of crops."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from rich.markup import escape
from rich.table import Table

from hcflow_ref.evaluation.metrics import Fidelity
from hcflow_ref.evaluation.protocol import Outputs, Row, Settings, average
from hcflow_ref.images.pixels import Pixels, crop_centre

CROP, ZOOM, LABEL = 96, 3, 16


def table(rows: Sequence[Row], settings: Settings) -> Table:
    """PSNR / SSIM, consistency, diversity and likelihood of each image, and the average."""
    sampled = any(row.sampled for row in rows)
    columns = ["image", "bicubic", "τ=0", "τ=0 (Y)"]
    if sampled:
        columns += [f"τ={settings.tau:g}", "diversity", "consistency"]
    columns += ["LR", "consistency τ=0"]
    bits = any(row.bits_per_pixel is not None for row in rows)
    vif = any(row.vif is not None for row in rows)
    lpips = any(row.lpips is not None for row in rows)
    taus = f" τ=0 / {settings.tau:g}" if sampled else ""
    columns += ["bits/pixel"] * bits + [f"VIF{taus}"] * vif + [f"LPIPS{taus}"] * lpips
    result = Table(*columns, caption=f"PSNR / SSIM on RGB, border cropped; seed {settings.seed}")
    for row in [*rows, average(rows)]:
        cells = [escape(row.name), _pair(row.bicubic), _pair(row.restored)]
        cells.append(f"{row.restored.psnr_y:.2f} / {row.restored.ssim_y:.4f}")
        if sampled:
            cells += [_pair(row.sampled), _number(row.diversity), _psnr(row.sampled_consistency)]
        cells += [_number(row.lr_psnr), _psnr(row.consistency)]
        cells += [_number(row.bits_per_pixel)] * bits
        cells += [_perceived(row.vif, row.sampled_vif, sampled)] * vif
        cells += [_perceived(row.lpips, row.sampled_lpips, sampled)] * lpips
        result.add_row(*cells, end_section=row is rows[-1])
    return result


def _pair(value: Fidelity | None) -> str:
    return "–" if value is None else f"{value.psnr:.2f} / {value.ssim:.4f}"


def _psnr(value: Fidelity | None) -> str:
    return "–" if value is None else f"{value.psnr:.2f}"


def _perceived(restored: float | None, sample: float | None, sampled: bool) -> str:
    return " / ".join(_number(value, 4) for value in (restored, sample)[: 1 + sampled])


def _number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def to_json(rows: Sequence[Row], settings: Settings, about: Mapping[str, str]) -> str:
    """All figures, in ASCII: file names need not be UTF-8. An infinite PSNR becomes null."""
    content = {
        "about": dict(about),
        "settings": dataclasses.asdict(settings),
        "images": [dataclasses.asdict(row) for row in rows],
        "average": dataclasses.asdict(average(rows)),
    }
    return json.dumps(_finite(content), indent=2)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def sheet_size(images: int, sampled: bool) -> tuple[int, int]:
    """Width and height in pixels of a contact sheet of one `strip` per image."""
    return (4 if sampled else 3) * CROP * ZOOM, images * (CROP * ZOOM + LABEL)


def strip(name: str, shown: Outputs) -> Pixels:
    """A row of a contact sheet, uint8: central crops of truth, bicubic, τ = 0 and the sample.

    All rows of an evaluation have the same width; without samples they have no fourth crop.
    """
    images = {"truth": shown.truth, "bicubic": shown.bicubic, "τ=0": shown.restored}
    if shown.sample is not None:
        images["sample"] = shown.sample
    return np.concatenate([_cell(f"{name}: {key}", image) for key, image in images.items()], 1)


def _cell(label: str, image: Pixels) -> Pixels:
    crop = Image.fromarray(np.ascontiguousarray(crop_centre(image, CROP)))
    side = CROP * ZOOM
    cell = Image.new("RGB", (side, side + LABEL), "white")
    cell.paste(crop.resize((side, side), Image.Resampling.NEAREST), (0, LABEL))
    ImageDraw.Draw(cell).text((3, 2), label.replace("τ", "tau "), fill="black")
    return np.asarray(cell)
