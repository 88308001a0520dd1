"""Tables of the shipped models as Markdown, from the JSON of `hcflow evaluate NAME --json`.

`python -m benchmarks.weights` prints the table of all models at τ = 0, which README.md contains;
with a NAME, or the JSON of another evaluation, it prints the table of that model's card.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from hcflow_ref.checkpoint.shipped import names, weights

Row = dict[str, Any]


def figures(evaluation: str) -> list[Row]:
    """The figures of each image and the average, of a shipped model or a JSON file."""
    path = Path(evaluation)
    if path.suffix != ".json":
        path = weights(evaluation).with_suffix(".json")
    content = json.loads(path.read_text(encoding="utf-8"))
    return [*content["images"], content["average"]]


def scale(name: str) -> int:
    """The scale at the end of a model's name."""
    return int(name.rpartition("x")[2])


def table(heading: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    first, *others = [f"| {' | '.join(line)} |" for line in (heading, *rows)]
    return "\n".join([first, "|" + "---|" * len(heading), *others])


def _number(value: float | None, digits: int) -> str:
    """A figure; None, where it is infinite or was not measured, is a dash."""
    return "–" if value is None else f"{value:.{digits}f}"


def _pair(fidelity: Row | None) -> str:
    if fidelity is None:
        return "–"
    return f"{_number(fidelity['psnr'], 2)} / {_number(fidelity['ssim'], 4)}"


def _psnr(fidelity: Row | None) -> str:
    return "–" if fidelity is None else _number(fidelity["psnr"], 1)


def all_models() -> str:
    """PSNR / SSIM of bicubic at each scale, and of every model at τ = 0."""
    columns: dict[str, list[str]] = {}
    for name in sorted(names(), key=lambda name: (scale(name), name)):
        rows = figures(name)
        columns.setdefault("photograph", [row["name"] for row in rows])
        columns.setdefault(f"bicubic ×{scale(name)}", [_pair(row["bicubic"]) for row in rows])
        columns[f"`{name}`"] = [_pair(row["restored"]) for row in rows]
    return table(list(columns), [list(row) for row in zip(*columns.values(), strict=True)])


def card(evaluation: str) -> str:
    """All figures of one model."""
    rows = figures(evaluation)
    rescaling = any(row["lr_psnr"] is not None for row in rows)
    samples = any(row["sampled"] is not None for row in rows)
    heading = ["photograph", "bicubic", "τ = 0"]
    heading += ["LR against bicubic LR"] if rescaling else ["consistency"]
    heading += ["samples", "their consistency", "diversity"] * samples + ["NLL"] * (not rescaling)
    body = []
    for row in rows:
        cells = [row["name"], _pair(row["bicubic"]), _pair(row["restored"])]
        cells.append(_number(row["lr_psnr"], 1) if rescaling else _psnr(row["consistency"]))
        if samples:
            cells += [_pair(row["sampled"]), _psnr(row["sampled_consistency"])]
            cells.append(_number(row["diversity"], 2))
        if not rescaling:
            cells.append(_number(row["bits_per_pixel"], 2))
        body.append(cells)
    return table(heading, body)


if __name__ == "__main__":
    print(card(sys.argv[1]) if sys.argv[1:] else all_models())
