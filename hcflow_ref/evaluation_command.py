"""`hcflow evaluate`: the command, importing PyTorch only when it runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    checkpoint: Annotated[Path, typer.Argument(help="A .pth or .safetensors checkpoint.")],
    data: Annotated[
        Path | None, typer.Option(help="Folder of images; scikit-image's four when not given.")
    ] = None,
    tau: Annotated[
        float | None, typer.Option(min=0, help="Temperature of samples; the checkpoint's own.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the latents.")] = 0,
    samples: Annotated[int, typer.Option(min=1, help="Samples for diversity.")] = 2,
    json: Annotated[Path | None, typer.Option(help="Write all figures to this file.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Write a contact sheet to this file.")] = None,
) -> None:
    """Measure PSNR, SSIM, diversity, consistency and likelihood against bicubic."""
    from PIL import Image  # noqa: PLC0415  (heavy imports only when used)
    from rich.console import Console  # noqa: PLC0415

    from hcflow_ref import evaluation, evaluation_report  # noqa: PLC0415
    from hcflow_ref.checkpoint import load  # noqa: PLC0415
    from hcflow_ref.errors import CheckpointError  # noqa: PLC0415

    try:
        loaded = load(checkpoint)
        settings = evaluation.Settings(loaded.default_tau if tau is None else tau, seed, samples)
        images = evaluation.read_folder(data, loaded.network.config.scale)
        rows, outputs = evaluation.evaluate(loaded.network, images, settings)
        Console().print(evaluation_report.table(rows, settings))
        if json:
            about = {"checkpoint": checkpoint.name, "sha256": loaded.sha256}
            json.write_text(evaluation_report.to_json(rows, settings, about), encoding="utf-8")
        if sheet:
            Image.fromarray(evaluation_report.contact_sheet(rows, outputs)).save(sheet)
    except (CheckpointError, OSError, ValueError) as error:
        print(f"hcflow evaluate: {error}", file=sys.stderr)
        raise typer.Exit(1) from error


if __name__ == "__main__":
    typer.run(evaluate)
