"""Everything that follows from new weights: `python -m benchmarks.publish NAME`, or `make weights`.

Put the weights at `hcflow_ref/weights/NAME.safetensors` first. This evaluates them, builds every
graph and calibrates INT8, and writes: NAME.json (figures), NAME.*.int8.json (calibration records),
NAME.md (the card's table), the ready bundle in `hcflow/models` where one ships, the tables of
README.md and docs/precision.md, and for the default model docs/side-by-side.png. What a card says
of the training is written by hand.

`--calibration DIR` is a folder of photographs; without it the recorded calibration is used, which
must be of the same weights.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import precision, weights
from hcflow.models.shipped import DEFAULT, READY
from hcflow_ref.checkpoint import shipped
from runtime.bundle.reader import Bundle

ROOT = Path(__file__).parents[1]
MODELS = ROOT / "hcflow" / "models"
README = ROOT / "README.md"
PRECISION = ROOT / "docs" / "precision.md"
MARKER = "<!-- `make weights` writes this table: {} -->"


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", choices=shipped.names())
    parser.add_argument("--calibration", type=Path, help="folder of photographs")
    asked = parser.parse_args()
    evaluate(asked.name)
    replace_table(card(asked.name), asked.name, weights.card(asked.name))
    replace_table(README, "all models", weights.all_models())
    with tempfile.TemporaryDirectory(dir=MODELS) as folder:
        built = build(asked.name, asked.calibration, Path(folder) / asked.name)
        rows = list(precision.models([built]))
        replace_rows(PRECISION, "precisions", rows[2:])
        if asked.name in READY:
            shutil.rmtree(MODELS / asked.name, ignore_errors=True)
            built.folder.rename(MODELS / asked.name)
    if asked.name == DEFAULT:
        with tempfile.TemporaryDirectory() as folder:
            run("-m", "hcflow", "demo", "--output", folder)
            shutil.copyfile(f"{folder}/side-by-side.png", ROOT / "docs" / "side-by-side.png")
    return 0


def card(name: str) -> Path:
    """The model's card."""
    return shipped.weights(name).with_suffix(".md")


def evaluate(name: str) -> None:
    """Write NAME.json with the settings that the present one was made with."""
    file = shipped.weights(name).with_suffix(".json")
    settings = json.loads(file.read_text(encoding="utf-8"))["settings"]
    options = [f"--{key}={value}" for key, value in settings.items()]
    run("-m", "hcflow", "evaluate", name, *options, f"--json={file}")


def build(name: str, calibration: Path | None, folder: Path) -> Bundle:
    """Build every graph; the INT8 reports become the recorded calibration."""
    options = [] if calibration is None else [f"--calibration={calibration}"]
    words = ["-m", "export.build", "--model", name, "--fp16", "--int8", *options]
    run(*words, "--output", str(folder))
    bundle = Bundle.open(folder)
    for graph in bundle.manifest.graphs:
        if graph.precision == "int8" and graph.report is not None:
            record = shipped.FOLDER / f"{name}.{graph.direction}.int8.json"
            shutil.copyfile(folder / graph.report, record)
    return bundle


def replace_table(path: Path, table: str, text: str) -> None:
    """Put a Markdown table in place of the one that follows the table's marker in a file."""
    before, there, after = split(path, table)
    path.write_text("\n".join([*before, *text.splitlines(), *after]) + "\n", encoding="utf-8")
    print(f"{path.relative_to(ROOT)}: {len(there)} lines written anew")


def replace_rows(path: Path, table: str, rows: list[str]) -> None:
    """Put rows in place of those with the same first cell in the table that follows a marker."""
    before, there, after = split(path, table)
    new = {row.split("|")[1]: row for row in rows}
    kept = [new.pop(row.split("|")[1], row) for row in there]
    lines = [*before, *kept, *new.values(), *after]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def split(path: Path, table: str) -> tuple[list[str], list[str], list[str]]:
    """The lines of a file up to a table, the table, and those behind it."""
    lines = path.read_text(encoding="utf-8").splitlines()
    marker = MARKER.format(table)
    if marker not in lines:
        raise SystemExit(f"{path}: the line '{marker}' is missing")
    start = next(i for i in range(lines.index(marker), len(lines)) if lines[i].startswith("|"))
    end = next((i for i in range(start, len(lines)) if not lines[i].startswith("|")), len(lines))
    return lines[:start], lines[start:end], lines[end:]


def run(*words: str) -> None:
    """Run a module of this project; its error ends the work."""
    if code := subprocess.run([sys.executable, *words], cwd=ROOT, check=False).returncode:
        raise SystemExit(code)


if __name__ == "__main__":
    raise SystemExit(main())
