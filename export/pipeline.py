"""Checkpoint → bundle: build and check every requested graph, then write all of them."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from export import artifact, border, bundle_writer, tile_grid, tiled_loss
from export.artifact import Artifact
from export.checks.reference_cases import Case, cases
from export.errors import BudgetError, ExportError
from export.folded.fold import GraphSpec
from export.precision.calibration_cache import CachedCalibration
from export.precision.lower import Calibration, Lowered, lower, read_crops
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
        directions: of the graphs.
        precisions: of each direction; fp32 is always built.
        tau: default temperature, or `None` for the checkpoint's own.
        with_latents: `False` builds an inverse for τ = 0 only.
        accept_over_budget: write the bundle, marked, although a graph misses its budget.
        tiling: the user's choices for the tile grid.
        calibration: a folder of photographs, used to choose the ranges.
        int8_budget_db: largest loss of int8 graphs on the hold-out; `None` makes none.
        int8_for_rtx: also make int8 graphs for TensorRT-RTX, with one weight scale a tensor.
        fp8_budget_db: largest loss of fp8 graphs, which are for TensorRT-RTX; `None` makes none.
        io: dtype of the images at the graphs' boundary, `float32` or `uint8`.
        cached_calibrations: what calibration found before, in place of photographs.
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
    int8_for_rtx: bool = False
    fp8_budget_db: float | None = None
    io: str = "float32"
    cached_calibrations: Mapping[Direction, CachedCalibration] = field(default_factory=dict)


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
        note: called with a line that the user should read; `progress` where it is left out.

    Raises:
        CalibrationError: the calibration folder cannot be used.
        ExportError: int8 or fp8 graphs are requested without one, and no cached calibration fits.
        BudgetError: a graph misses its budget and `accept_over_budget` is not set; nothing is
            written.
        ExportError: the folder holds something else, or graphs for another τ that stay; or
            `tile_grid.check` refuses the grid.
        FileError: the folder cannot be written into, by its permissions.
        ParameterError: τ is negative or not a number.
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
    specs = {direction: _specs(request, direction) for direction in request.directions}
    _check_tau(bundle_writer.existing(folder, checkpoint), request, specs.values(), tau)
    calibrations = _calibrations(model, request, tau, note)
    exact = copy.deepcopy(model).double()
    vectors: list[Case] = []
    artifacts: list[Artifact] = []
    for direction, calibration in calibrations.items():
        progress(f"{direction}: reference in float64")
        answers = list(cases(exact, direction, _taus(model, tau)))
        vectors += answers
        graphs = _graphs(
            checkpoint, specs[direction], answers, (0.0, tau), calibration, progress, note
        )
        levels = [Level(c, f) for c, f, _ in model.config.latent_shapes(1, 1)]
        progress(f"{direction}: choose the border")
        graphs = border.choose(graphs, levels, model.config.scale, note)
        progress(f"{direction}: certify tiles")
        certified = tile_grid.certify(
            graphs,
            levels,
            model.config.scale,
            _taus(model, tau) if request.with_latents else (0.0,),
            request.tiling,
            note,
            functools.partial(
                tiled_loss.evaluated,
                model,
                direction,
                request.with_latents or direction == "forward",
                (0.0, tau),
                request.int8_budget_db,
            ),
        )
        alone: list[Artifact] = []
        if direction == "forward":
            progress("forward: the LR image alone, without latents")
            pruned = [artifact.build_lr_alone(each, answers) for each in certified]
            alone = [each for each in pruned if each is not None]
        if request.io == IO:
            progress(f"{direction}: uint8 images at the boundary")
            # The fp32 graph with a float32 boundary is always there.
            certified[1:] = [artifact.build_uint8(each, answers) for each in alone or certified]
            alone = []
        artifacts += [*certified, *alone]
    misses = [line for built in artifacts for line in over_budget(built.entry)]
    misses += [line for built in artifacts for line in tile_grid.over_budget(built.entry)]
    if misses and not request.accept_over_budget:
        raise BudgetError(
            f"over budget: {'; '.join(misses)}. Nothing was written; use --accept-over-budget "
            "to keep the bundle, marked"
        )
    progress("writing")
    return bundle_writer.write(folder, request.name, checkpoint, tau, artifacts, vectors)


def _specs(request: Request, direction: Direction) -> list[GraphSpec]:
    """The graphs of one direction, fp32 first, as they are before images become uint8."""
    precisions = dict.fromkeys(("fp32", *request.precisions))
    if request.int8_budget_db is not None:
        precisions["int8"] = None
    latents = request.with_latents or direction == "forward"
    specs = [GraphSpec(direction, precision, latents) for precision in precisions]
    for_rtx: list[Precision] = ["int8"] if request.int8_for_rtx else []
    for_rtx += ["fp8"] if request.fp8_budget_db is not None else []
    return specs + [GraphSpec(direction, each, latents, target="rtx") for each in for_rtx]


def _graphs(
    checkpoint: Checkpoint,
    specs: Sequence[GraphSpec],
    answers: Sequence[Case],
    taus: tuple[float, ...],
    calibration: Calibration,
    progress: Callable[[str], None],
    note: Callable[[str], None],
) -> list[Artifact]:
    """The graphs of one direction, built and compared with the reference."""
    model = checkpoint.network
    graphs: list[Artifact] = []
    lowered: Lowered | None = None
    for spec in specs:
        if spec.precision != "fp32":
            first = lowered is None
            try:
                exact = graphs[0].traced if graphs else None  # fp32 comes first
                lowered = lower(model, spec, taus, calibration, lowered, progress, exact)
            except BudgetError as error:
                if (spec.precision, spec.target) != ("int8", "rtx"):
                    raise
                # It is made beside the CPU's graph, which stays.
                reason = str(error).removesuffix(". Nothing was written")
                note(
                    f"{spec.direction}: no int8 graph for TensorRT-RTX, where INT8 gains nothing: "
                    f"use --fp16 or --fp8 ({reason})"
                )
                continue
            for network, (tensor, largest) in lowered.kept.items() if first else ():
                note(
                    f"{spec.direction}: '{network}' stays float32: '{tensor}' reaches {largest:.3g}"
                )
        progress(f"{spec.direction} {spec.precision}: fold, export and compare")
        graphs.append(artifact.build(model, checkpoint.sha256, spec, answers, lowered))
    return graphs


def _check_tau(
    old: Manifest | None, request: Request, specs: Iterable[Sequence[GraphSpec]], tau: float
) -> None:
    """Whether the temperature goes with the graphs that are built and those that stay."""
    written = set[GraphSpec]()
    for fp32, *lower_specs in specs:
        images = [replace(spec, io=request.io) for spec in (fp32, *lower_specs)]
        if request.io == IO and fp32.direction == "forward":
            images = [replace(spec, latents=False) for spec in images]
        written |= {fp32, *images}
    settled = bundle_writer.settle(old, written, tau)
    if request.tau is not None and request.with_latents and settled != tau:
        raise ExportError(
            f"--tau {tau:g} sets the temperature of inverse graphs, and the bundle's stay as they "
            f"are, for τ = {settled:g}: leave it out, or build --direction both"
        )


def _calibrations(
    model: HCFlow | IRN, request: Request, tau: float, note: Callable[[str], None]
) -> dict[Direction, Calibration]:
    """What each direction's precisions are chosen by."""
    cached = {direction: _cached(request, direction, tau) for direction in request.directions}
    if request.calibration is None:
        int8 = request.int8_budget_db is not None or "int8" in request.precisions
        fp8 = request.fp8_budget_db is not None
        if (int8 or fp8) and None in cached.values():
            raise ExportError(
                f"{'--int8' if int8 else '--fp8'} needs --calibration DIR, a folder of "
                "photographs: there is no cached calibration for these weights, directions, "
                "latents and temperature"
            )
        crops = None
    else:
        crops = read_crops(model, request.calibration, note)
    return {
        direction: Calibration(crops, request.int8_budget_db, request.fp8_budget_db, found)
        for direction, found in cached.items()
    }


def _cached(request: Request, direction: Direction, tau: float) -> CachedCalibration | None:
    """The cached calibration of the requested graph, if it covers its temperature."""
    cached = request.cached_calibrations.get(direction)
    latents = request.with_latents or direction == "forward"
    if cached is None or cached.latents != latents:
        return None
    return cached if direction == "forward" or tau <= max(cached.taus) else None


def _taus(model: HCFlow | IRN, tau: float) -> tuple[float, ...]:
    """Temperatures that a graph is checked at: 0, and one at which its latents count."""
    return (0.0, tau or model.config.default_tau)


def over_budget(graph: Graph) -> list[str]:
    """One line for each figure of a graph that misses its budget."""
    outputs = [
        f"{graph.title}, {row.case}, τ {row.tau:g}, {row.output}: " + _figures(row)
        for row in graph.parity
        if not row.ok
    ]
    losses = [
        f"{graph.title}, {row.case}, τ {row.tau:g}: loses {row.loss_db:.3f} "
        "dB against the photograph"
        for row in artifact.too_lossy(graph.precision, graph.losses)
    ]
    return outputs + losses


def _figures(row: Parity) -> str:
    if row.max_abs is None or not math.isfinite(row.max_abs):
        return "NaN or infinity"
    psnr = "" if row.psnr_db is None else f", {row.psnr_db:.1f} dB"
    relative = "" if row.max_rel is None else f", relative {row.max_rel:.2g}"
    return f"max error {row.max_abs:.2g}{relative}{psnr}"
