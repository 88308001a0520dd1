"""A precision's report: JSON for programs, and one self-contained page with pictures for people."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from calib.encodings import FP8, INT8
from export.precision.calibration_cache import FORMAT
from export.precision.lower import Lowered
from runtime.bundle.manifest import Graph, finite

_STYLE = (
    "body{font:15px sans-serif;max-width:60em;margin:2em auto}td,th{padding:.1em .8em;"
    "text-align:right}td:first-child{text-align:left}figure{display:inline-block;margin:.5em}"
    "img{image-rendering:pixelated;width:14em}"
)
_OF_FLOATS = "losses and pictures are of the same graph with float32 images"
_GAIN = 20
"""How much brighter than life an error map is."""


def files(entry: Graph, lowered: Lowered, checkpoint_sha256: str) -> dict[str, bytes]:
    """The report's two files by name, the JSON first; names carry the JSON's digest."""
    figures = _figures(entry, lowered, checkpoint_sha256)
    text = (
        json.dumps(finite(figures), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    ).encode()
    kind = entry.precision if entry.target is None else f"{entry.precision}{entry.target}"
    stem = f"report.{entry.direction}.{kind}.{hashlib.sha256(text).hexdigest()[:12]}"
    return {f"{stem}.json": text, f"{stem}.html": _page(entry, figures, lowered).encode()}


def page_of(report: str) -> str:
    """The page that stands beside a report's JSON."""
    return report.removesuffix(".json") + ".html"


def _figures(entry: Graph, lowered: Lowered, checkpoint_sha256: str) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "format": FORMAT,
        "checkpoint": checkpoint_sha256,
        "graph": entry.file,
        "direction": entry.direction,
        "precision": entry.precision,
        "latents": entry.latents,
        "bytes": entry.bytes,
        "nodes": entry.nodes,
        "casts": entry.casts,
        "losses": [asdict(row) for row in entry.losses],
        "kept_float32": {
            network: {"tensor": tensor, "largest": largest}
            for network, (tensor, largest) in lowered.kept.items()
        },
    }
    if entry.io != "float32":
        figures |= {"io": entry.io, "measured": _OF_FLOATS}
    if lowered.int8:
        choice = lowered.int8.choice
        figures["fp8" if lowered.int8.encoding is FP8 else "int8"] = {
            "taus": list(lowered.int8.taus),
            "method": lowered.int8.method,
            "hold_out_loss_db": choice.loss_db,
            "all_int8_hold_out_loss_db": choice.all_int8_loss_db,
            "method_losses_db": dict(lowered.int8.method_losses),
            "multiply_adds": choice.share,
            "ranges_by_tau": [asdict(row) for row in lowered.int8.growth],
            "reverted": list(choice.reverted),
            "blocks": [asdict(block) for block in choice.blocks],
            "ranges": dict(lowered.int8.ranges),
            "channels": {name: list(reach) for name, reach in lowered.int8.channels.items()},
        }
    return figures


def _page(entry: Graph, figures: Mapping[str, Any], lowered: Lowered) -> str:
    title = entry.title
    parts = [
        f"<!doctype html><meta charset=utf-8><title>{title}</title><style>{_STYLE}</style>",
        f"<h1>{title}</h1><p>{html.escape(entry.file)}: {entry.bytes:,} bytes, {entry.nodes} nodes,"
        f" {entry.casts} casts" + (f"; {_OF_FLOATS}" if entry.io != "float32" else ""),
        "<h2>Cost on the evaluation photographs</h2><p>Crops; they only report.<table><tr><th>"
        "<th>τ<th>PSNR against fp32, dB<th>largest difference<th>loss against the photograph, dB",
    ]
    for row in entry.losses:
        psnr = "identical" if row.psnr_fp32_db is None else f"{row.psnr_fp32_db:.2f}"
        cells = f"<td>{psnr}<td>{(row.max_abs or 0) * 255:.1f}/255<td>{row.loss_db:.4f}"
        parts.append(f"<tr><td>{row.case}<td>{row.tau:g}{cells}")
    parts.append(f"</table><h2>Error maps</h2><p>|difference from fp32| × {_GAIN}, τ = 0.<br>")
    for name, (exact, low) in lowered.pictures.items():
        parts.append(
            f"<figure><img src='{_picture(low)}'> <img src='{_picture(_GAIN * abs(low - exact))}'>"
            f"<figcaption>{name}</figcaption></figure>"
        )
    if lowered.int8:
        word = "FP8" if lowered.int8.encoding is FP8 else "INT8"
        int8 = figures[word.lower()]
        parts.append(
            f"<h2>{word}</h2><p>{int8['method']} ranges; {int8['multiply_adds']:.1%} of the "
            f"convolutions' multiply-adds; {int8['hold_out_loss_db']:.3f} dB on the hold-out, "
            f"{int8['all_int8_hold_out_loss_db']:.3f} dB with every candidate in {word}."
            if lowered.int8.encoding is INT8 or lowered.int8.method_losses
            else f"<h2>{word}</h2><p>{int8['method']} ranges; {int8['multiply_adds']:.1%} of the "
            "convolutions' multiply-adds, in the blocks that the cached calibration has in INT8."
        )
        parts += [
            f"<p>At τ = {row['tau']:g} what is quantised reaches {row['median']:.2f} times as far "
            f"as at τ = 0 (median), {row['largest']:.2f} times at most."
            for row in int8["ranges_by_tau"]
        ]
        parts.append(f"<h2>Loss of each block alone, dB</h2>{_bars(int8['blocks'])}")
    for network, worst in figures["kept_float32"].items():
        parts.append(
            f"<p>{html.escape(network)} stays float32: {html.escape(worst['tensor'])} reaches "
            f"{worst['largest']:.3g}"
        )
    return "\n".join(parts) + "\n"


def _bars(blocks: list[dict[str, Any]]) -> str:
    """Blocks as horizontal bars, those back in float in red."""
    longest = max((abs(block["loss_db"]) for block in blocks), default=0) or 1
    rows = []
    for index, block in enumerate(sorted(blocks, key=lambda block: -block["loss_db"])):
        y, width = 18 * index, 400 * max(block["loss_db"], 0) / longest
        colour = "#37c" if block["int8"] else "#c33"
        rows.append(
            f"<text x=0 y={y + 13}>{html.escape(block['name'])}</text>"
            f"<rect x=330 y={y + 2} width={width:.1f} height=14 fill='{colour}'/>"
            f"<text x={335 + width:.1f} y={y + 13}>{block['loss_db']:.4f}</text>"
        )
    return (
        f"<svg width=820 height={18 * len(blocks)} font-size=12 font-family=sans-serif>"
        + "".join(rows)
        + "</svg>"
    )


def _picture(image: NDArray[np.floating]) -> str:
    pixels = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
