"""Checkpoint → bundle: every graph asked for, built, checked, and written together."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from export import artifact, bundle_writer, tile_grid
from export.checks.reference_cases import Case, cases
from export.errors import BudgetError, ExportError
from export.precision import lower
from export.precision.calibration_cache import Recorded
from hcflow_ref.checkpoint.load import Checkpoint
from hcflow_ref.network.hcflow import HCFlow
from hcflow_ref.network.irn import IRN
from runtime.bundle.manifest import Direction, Graph, Level, Manifest, Parity, Precision
from runtime.bundle.uint8_images import IO
from runtime.latents import check_tau
from runtime.system import atomic


@dataclass(frozen=True)
class Request:
    """What a build makes.

    Attributes:
        name: the model's name in the manifest.
        directions: which graphs.
        precisions: of each; fp32 is always among them.
        tau: default temperature, or `None` for the checkpoint's own.
        with_latents: `False` makes an inverse for τ = 0 only.
        accept_over_budget: write the bundle, marked, although a graph misses its budget.
        tiling: what is decided of the tile grid beforehand.
        calibration: a folder of photographs that ranges are taken on.
        int8_budget_db: largest loss of int8 graphs on the hold-out; `None` makes none.
        recorded: what calibration found before, by direction, in place of photographs.
    """

    name: str
    directions: Sequence[Direction] = ("inverse", "forward")
    precisions: Sequence[Precision] = ("fp32",)
    tau: float | None = None
    with_latents: bool = True
    accept_over_budget: bool = False
    tiling: tile_grid.Options = field(default_factory=tile_grid.Options)
    calibration: Path | None = None
    int8_budget_db: float | None = None
    io: str = "float32"
    recorded: Mapping[Direction, Recorded] = field(default_factory=dict)


def build(
    checkpoint: Checkpoint,
    folder: Path,
    request: Request,
    progress: Callable[[str], None] = lambda _: None,
    note: Callable[[str], None] | None = None,
) -> Manifest:
    """Build and write a bundle.

    Args:
        checkpoint: the network.
        folder: where the bundle goes; one of the same checkpoint is added to.
        request: what to make.
        progress: called with a line before each stage.
        note: called with what is to be known of the bundle or of what it was made with; `progress`
            where it is left out.

    Raises:
        CalibrationError: the calibration folder will not do.
        ExportError: int8 graphs are asked for without one, and without a record that fits.
        BudgetError: a graph misses its budget and `accept_over_budget` is not set; nothing is
            written.
        ExportError: the folder holds something else, or graphs for another τ that stay; or no grid
            can be made as asked (`tiling.check`).
        FileError: the folder cannot be written into, by its permissions.
        ParameterError: τ is negative or no number.
        OSError: the folder cannot be written.
    """
    note = note or progress
    tau = checkpoint.default_tau if request.tau is None else request.tau
    check_tau(tau)
    if not request.with_latents:
        tau = 0.0
    model = checkpoint.network
    atomic.check_folder(folder)
    tile_grid.check(request.tiling, model.config.scale, note)
    precisions = dict.fromkeys(("fp32", *request.precisions))
    if request.int8_budget_db is not None:
        precisions["int8"] = None
    _check_tau(bundle_writer.existing(folder, checkpoint), request, list(precisions), tau)
    exact = copy.deepcopy(model).double()
    crops = None
    recorded = {way: _recorded(request, way, tau) for way in request.directions}
    if "int8" in precisions and request.calibration is None and None in recorded.values():
        raise ExportError(
            "--int8 needs --calibration DIR, a folder of photographs: no recorded calibration is "
            "of these weights, directions, latents and temperature"
        )
    if request.calibration is not None:
        crops = lower.read_crops(model, request.calibration, note)
    vectors: list[Case] = []
    artifacts = []
    for direction in request.directions:
        progress(f"{direction}: reference in float64")
        answers = list(cases(exact, direction, _taus(model, tau)))
        vectors += answers
        graphs = []
        lowered: lower.Lowered | None = None
        for precision in precisions:
            if precision != "fp32":
                first = lowered is None
                lowered = lower.lower(
                    model,
                    direction,
                    precision,
                    request.with_latents,
                    (0.0, tau),
                    crops,
                    request.int8_budget_db,
                    recorded[direction],
                    lowered,
                    progress,
                )
                for network, (tensor, largest) in lowered.kept.items() if first else ():
                    note(
                        f"{direction}: '{network}' stays float32: '{tensor}' reaches {largest:.3g}"
                    )
            progress(f"{direction} {precision}: fold, export and compare")
            graphs.append(
                artifact.build(
                    model,
                    checkpoint.sha256,
                    direction,
                    precision,
                    request.with_latents,
                    answers,
                    lowered,
                )
            )
        progress(f"{direction}: certify tiles")
        certified = tile_grid.certify(
            graphs,
            [Level(c, f) for c, f, _ in model.config.latent_shapes(1, 1)],
            model.config.scale,
            _taus(model, tau) if request.with_latents else (0.0,),
            request.tiling,
            note,
        )
        if request.io == IO:
            progress(f"{direction}: bytes at the boundary")
            of_bytes = [
                artifact.build_uint8(each, answers, request.with_latents) for each in certified
            ]
            artifacts += [certified[0], *of_bytes]  # the fp32 graph of floats is always there
        else:
            artifacts += certified
    misses = [line for built in artifacts for line in over_budget(built.entry)]
    misses += [line for built in artifacts for line in tile_grid.over_budget(built.entry)]
    if misses and not request.accept_over_budget:
        raise BudgetError(
            f"out of budget: {'; '.join(misses)}. Nothing was written; --accept-over-budget keeps "
            "such a bundle, marked"
        )
    progress("writing")
    return bundle_writer.write(folder, request.name, checkpoint, tau, artifacts, vectors)


def _check_tau(
    old: Manifest | None, request: Request, precisions: Sequence[Precision], tau: float
) -> None:
    """Whether the temperature goes with the graphs that are built and those that stay."""
    ios = {(precision, request.io) for precision in precisions} | {("fp32", "float32")}
    slots = {
        (direction, precision, request.with_latents if direction == "inverse" else io != IO, io)
        for direction in request.directions
        for precision, io in ios
    }
    settled = bundle_writer.settle(old, slots, tau)
    if request.tau is not None and request.with_latents and settled != tau:
        raise ExportError(
            f"--tau {tau:g} is of the inverse graphs, which stay as they are, for τ = "
            f"{settled:g}: leave it out, or build --direction both"
        )


def _recorded(request: Request, direction: Direction, tau: float) -> Recorded | None:
    """The record for a graph of the request's kind, at its default temperature or below it."""
    recorded = request.recorded.get(direction)
    latents = request.with_latents or direction == "forward"
    if recorded is None or recorded.latents != latents:
        return None
    return recorded if direction == "forward" or tau <= max(recorded.taus) else None


def _taus(model: HCFlow | IRN, tau: float) -> tuple[float, ...]:
    """Temperatures that a graph is checked at: 0, and one at which its latents count."""
    return (0.0, tau or model.config.default_tau)


def over_budget(graph: Graph) -> list[str]:
    """One line for each figure of a graph that misses its budget."""
    return [
        f"{graph.title}, {row.case}, τ {row.tau:g}, {row.output}: " + _figures(row)
        for row in graph.parity
        if not row.ok
    ] + [
        f"{graph.title}, {row.case}, τ {row.tau:g}: loses {row.loss_db:.3f} "
        "dB against the photograph"
        for row in artifact.too_lossy(graph.precision, graph.losses)
    ]


def _figures(row: Parity) -> str:
    if row.max_abs is None or not math.isfinite(row.max_abs):
        return "NaN or infinity"
    psnr = "" if row.psnr_db is None else f", {row.psnr_db:.1f} dB"
    relative = "" if row.max_rel is None else f", relative {row.max_rel:.2g}"
    return f"max error {row.max_abs:.2g}{relative}{psnr}"
