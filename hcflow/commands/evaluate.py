"""`hcflow evaluate`: the figures of a checkpoint or a bundle, against bicubic."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hcflow.commands import options
from runtime.errors import BundleError, ParameterError

if TYPE_CHECKING:
    from hcflow_ref.evaluation import Subject

WIDTH = 160
CHECKPOINTS = frozenset({".pth", ".pt", ".safetensors"})


def evaluate(
    what: Annotated[
        str,
        typer.Argument(
            metavar="BUNDLE_OR_CHECKPOINT",
            help="A bundle's folder, a .pth or .safetensors file, or a shipped model's name.",
        ),
    ],
    data: Annotated[
        Path | None, typer.Option(help="Folder of images; scikit-image's four when not given.")
    ] = None,
    tau: Annotated[
        float | None, typer.Option(min=0, help="Temperature of samples; the model's own.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**64 - 1, help="Seed of the latents.")] = 0,
    samples: Annotated[int, typer.Option(min=1, help="Samples for diversity.")] = 2,
    backend: Annotated[
        str | None, typer.Option(help="Backend of a bundle.", show_default="onnxruntime")
    ] = None,
    precision: options.PrecisionName = None,
    threads: options.Threads = None,
    json: Annotated[Path | None, typer.Option(help="Write all figures to this file.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Write a contact sheet to this file.")] = None,
) -> None:
    """Measure PSNR, SSIM, diversity, consistency and likelihood against bicubic.

    A checkpoint is measured with PyTorch, a bundle as it is used, on any backend and precision.
    Figures are on 8-bit RGB inside a border of the scale's width; latents are drawn by place.
    """
    from rich.console import Console  # noqa: PLC0415  (heavy imports only when used)

    from hcflow_ref import evaluation, evaluation_report, perception  # noqa: PLC0415
    from hcflow_ref.errors import CheckpointError  # noqa: PLC0415
    from runtime import atomic, files  # noqa: PLC0415
    from runtime.latents import check_tau  # noqa: PLC0415

    if sheet is not None:
        files.format_of(sheet)  # an unknown suffix is known before any work is done
    for output in (json, sheet):
        if output is not None and not output.parent.is_dir():
            raise ParameterError(
                f"cannot write '{output}': the folder '{output.parent}' does not exist"
            )
    try:
        subject, default_tau, about = _open(what, backend, precision, threads)
        settings = evaluation.Settings(default_tau if tau is None else tau, seed, samples)
        check_tau(settings.tau)
        images = evaluation.read_folder(data, subject.scale)
        metrics = perception.load()
        for line in metrics.missing:
            print(f"hcflow: {line}", file=sys.stderr)
        rows, outputs = evaluation.evaluate(subject, images, settings, metrics)
    except CheckpointError as error:
        raise BundleError(str(error)) from error
    # Piped, it would be cut to 80 columns.
    width = None if sys.stdout.isatty() else WIDTH
    Console(width=width).print(evaluation_report.table(rows, settings))
    if json:
        text = evaluation_report.to_json(rows, settings, about)
        atomic.write(json, text.encode())
    if sheet:
        atomic.write(sheet, _encoded(evaluation_report.contact_sheet(rows, outputs), sheet))


def _open(
    what: str, backend: str | None, precision: str | None, threads: int | None
) -> tuple[Subject, float, dict[str, str]]:
    """The subject, its temperature, and what the JSON says of it."""
    from hcflow.subjects import Deployed, Reference  # noqa: PLC0415
    from hcflow_ref.checkpoint import load  # noqa: PLC0415
    from hcflow_ref.models import names, weights  # noqa: PLC0415

    path = Path(what)
    if path.is_dir() or path.name == "manifest.json":
        import hcflow  # noqa: PLC0415

        options: dict[str, Any] = {
            "backend": backend,
            "precision": precision,
            "threads": threads,
        }
        model = hcflow.load(what, **{k: v for k, v in options.items() if v is not None})
        manifest = model.manifest
        about = {
            "bundle": manifest.name,
            "backend": backend or "onnxruntime",
            "precision": precision or "fp32",
            "sha256": manifest.checkpoint.sha256,
        }
        return Deployed(model), model.default_tau, about
    if backend or precision:
        raise ParameterError(
            f"--backend and --precision are of bundles; '{what}' is a checkpoint, measured with "
            "PyTorch: `hcflow build` makes a bundle of it"
        )
    if not path.exists() and path.suffix not in CHECKPOINTS and what in names():
        path = weights(what)
    if threads:
        import torch  # noqa: PLC0415

        torch.set_num_threads(threads)
    checkpoint = load(path)
    about = {"checkpoint": path.name, "sha256": checkpoint.sha256}
    return Reference(checkpoint.network), checkpoint.default_tau, about


def _encoded(image: Any, path: Path) -> bytes:
    from PIL import Image  # noqa: PLC0415

    from runtime.files import format_of  # noqa: PLC0415

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format_of(path))
    return buffer.getvalue()


if __name__ == "__main__":
    from hcflow.cli import run_command

    run_command(evaluate)
