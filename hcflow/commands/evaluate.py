"""`hcflow evaluate`: measures a checkpoint or a bundle on images, beside bicubic."""

from __future__ import annotations

import dataclasses
import io
import sys
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hcflow.cli import options
from hcflow.cli.console import shown
from runtime.errors import BackendError, BundleError, FileError, ImageError, ParameterError

if TYPE_CHECKING:
    from hcflow_ref.evaluation.perceptual_metrics import PerceptualMetrics
    from hcflow_ref.evaluation.protocol import Evaluated, Row, Settings, Source

WIDTH = 160
CHECKPOINTS = frozenset({".pth", ".pt", ".safetensors"})


class Dequantisation(StrEnum):
    """Noise of the likelihood."""

    official = "official"
    centred = "centred"


def evaluate(
    what: Annotated[
        str,
        typer.Argument(
            metavar="BUNDLE_OR_CHECKPOINT",
            help="A bundle's folder, a .pth or .safetensors file, or a shipped model's name.",
        ),
    ],
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of images.", show_default="the four test photographs"),
    ] = None,
    tau: Annotated[
        float | None,
        typer.Option(min=0, help="Temperature of the samples.", show_default="the model's own"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**64 - 1, help="Seed of the latents.")] = 0,
    samples: Annotated[int, typer.Option(min=1, help="Number of samples per image.")] = 2,
    dequantisation: Annotated[
        Dequantisation,
        typer.Option(help="Noise of the likelihood: U(0, 1)/q as published, or U(−½, ½)/q."),
    ] = Dequantisation.official,
    backend: Annotated[
        str | None,
        typer.Option(
            help="Backend of a bundle.",
            show_default="onnxruntime",
            rich_help_panel=options.COMPUTING,
        ),
    ] = None,
    precision: options.PrecisionName = None,
    device: options.Device = None,
    threads: options.Threads = None,
    json: Annotated[Path | None, typer.Option(help="Write all figures to this file.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Write a contact sheet to this file.")] = None,
) -> None:
    """Measure PSNR, SSIM, diversity, consistency and likelihood, beside bicubic.

    A checkpoint runs in PyTorch, a bundle on any of its backends and precisions; both use the same
    latents. Figures are on 8-bit RGB without a border as wide as the scale. An image that is
    damaged, or too large for this machine's memory, is reported and skipped; the exit code is then
    1.
    """
    import numpy as np
    from rich.console import Console

    from hcflow_ref.errors import CheckpointError
    from hcflow_ref.evaluation import perceptual_metrics, protocol, report
    from runtime.images.codecs import formats, size_limits
    from runtime.latents import check_tau
    from runtime.system import atomic

    if sheet is not None:
        formats.format_of(sheet)  # refuses an unknown suffix before any work is done
    for output in (json, sheet):
        if output is not None and not output.parent.is_dir():
            raise ParameterError(
                f"cannot write '{output}': the folder '{output.parent}' does not exist"
            )
    try:
        model, default_tau, about = _open(what, backend, precision, threads, device)
        settings = protocol.Settings(
            default_tau if tau is None else tau, seed, samples, dequantisation.value
        )
        check_tau(settings.tau)
        sources = protocol.sources(data, model.scale)
    except CheckpointError as error:
        raise BundleError(str(error)) from error
    if sheet is not None:
        sides = report.sheet_size(len(sources), settings.tau > 0)
        size_limits.check_sides(formats.format_of(sheet), *sides)
    metrics = perceptual_metrics.load()
    for line in metrics.missing:
        print(f"hcflow: {line}", file=sys.stderr)
    rows, strips, skipped = _measure(model, sources, settings, metrics, sheet is not None)
    for line in skipped:
        print(f"hcflow: skipped {shown(line)}", file=sys.stderr)
    if not rows:
        raise BundleError(f"none of {len(sources)} images could be measured")
    # In a pipe rich would cut the table to 80 columns.
    width = None if sys.stdout.isatty() else WIDTH
    named = [dataclasses.replace(row, name=shown(row.name)) for row in rows]
    Console(width=width).print(report.table(named, settings))
    if json:
        text = report.to_json(rows, settings, about)
        atomic.write(json, text.encode())
    if sheet:
        atomic.write(sheet, _encoded(np.concatenate(strips), sheet))
    if skipped:
        raise typer.Exit(1)


def _measure(
    model: Evaluated,
    sources: list[Source],
    settings: Settings,
    metrics: PerceptualMetrics,
    with_strips: bool,
) -> tuple[list[Row], list[Any], list[str]]:
    """Figures and crops of the images that can be measured, and a line for each that cannot.

    Raises:
        HcflowError: the model can measure no image.
    """
    from hcflow_ref.errors import CheckpointError, out_of_memory
    from hcflow_ref.evaluation import protocol, report

    rows: list[Row] = []
    strips, skipped = [], []
    for source in _with_progress(sources):
        try:
            _check_memory(model, source, settings.samples if settings.tau else 0)
            row, outputs = protocol.evaluate_image(
                model, source.name, source.read(), settings, metrics
            )
        except (CheckpointError, FileError, ImageError) as error:
            skipped.append(f"{source.name}: {error}")
            continue
        except BackendError as error:
            if not rows:  # no other image could be measured either
                raise
            skipped.append(f"{source.name}: {error}")
            continue
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            skipped.append(f"{source.name}: out of memory; use smaller images")
            continue
        rows.append(row)
        if with_strips:
            strips.append(report.strip(shown(source.name), outputs))
    return rows, strips, skipped


def _with_progress(sources: list[Source]) -> Iterable[Source]:
    """The sources in turn, with a progress bar where stderr is a terminal."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(sources, "Evaluating", console=console, disable=not sys.stderr.isatty())


def _check_memory(model: Evaluated, source: Source, samples: int) -> None:
    """Raise `ImageError` where evaluating the image would not fit into memory."""
    from hcflow.measure.evaluated import ReferenceModel
    from hcflow_ref.evaluation.protocol import bytes_needed
    from runtime.system import machine

    need, have = bytes_needed(model, source, samples), machine.available_memory()
    if have is None or need <= have:
        return
    tiles = isinstance(model, ReferenceModel) and model.task == "rescaling"
    bundle = ", or a bundle, which runs in tiles: `hcflow build`" if tiles else ""
    raise ImageError(
        f"its {source.pixels / 1e6:.0f} megapixels need about {need / 1e9:.1f} GB of memory, "
        f"{have / 1e9:.1f} GB are free: use smaller images{bundle}"
    )


def _open(
    what: str,
    backend: str | None,
    precision: str | None,
    threads: int | None,
    device: int | None,
) -> tuple[Evaluated, float, dict[str, str]]:
    """The model, its default temperature, and what identifies it in the JSON."""
    from hcflow.measure.evaluated import BundleModel, ReferenceModel
    from hcflow_ref.checkpoint.load import load
    from hcflow_ref.checkpoint.shipped import names, weights

    path = Path(what)
    if path.is_dir() or path.name == "manifest.json":
        import hcflow

        options: dict[str, Any] = {
            "backend": backend,
            "precision": precision,
            "threads": threads,
            "device": device,
        }
        model = hcflow.load(what, **{k: v for k, v in options.items() if v is not None})
        manifest = model.manifest
        about = {
            "bundle": manifest.name,
            "backend": model.network.backend,
            "precision": precision or "fp32",
            "sha256": manifest.checkpoint.sha256,
        }
        return BundleModel(model), model.default_tau, about
    if backend or precision or device is not None:
        given = "--backend and --precision are" if backend or precision else "--device is"
        raise ParameterError(
            f"{given} for bundles; '{what}' is a checkpoint, which runs in "
            "PyTorch: `hcflow build` builds a bundle from it"
        )
    if not path.exists() and path.suffix not in CHECKPOINTS and what in names():
        path = weights(what)
    if threads:
        import torch

        torch.set_num_threads(threads)
    checkpoint = load(path)
    about = {"checkpoint": path.name, "sha256": checkpoint.sha256}
    return ReferenceModel(checkpoint.network), checkpoint.default_tau, about


def _encoded(image: Any, path: Path) -> bytes:
    from PIL import Image

    from runtime.images.codecs.formats import format_of

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format_of(path))
    return buffer.getvalue()


if __name__ == "__main__":
    from hcflow.cli.program import run_command

    run_command(evaluate)
