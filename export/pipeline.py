"""Checkpoint → bundle: every graph asked for, built, checked, and written together."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from export import artifact, bundle
from export.cases import Case, cases
from export.errors import BudgetError
from export.flow import Direction
from hcflow_ref.checkpoint import Checkpoint
from hcflow_ref.hcflow import HCFlow
from runtime.latents import check_tau
from runtime.manifest import Graph, Manifest, Parity, Precision


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
    """

    name: str
    directions: Sequence[Direction] = ("inverse", "forward")
    precisions: Sequence[Precision] = ("fp32",)
    tau: float | None = None
    with_latents: bool = True
    accept_over_budget: bool = False


def build(
    checkpoint: Checkpoint,
    folder: Path,
    request: Request,
    progress: Callable[[str], None] = lambda _: None,
) -> Manifest:
    """Build and write a bundle.

    Args:
        checkpoint: the network.
        folder: where the bundle goes; one of the same checkpoint is added to.
        request: what to make.
        progress: called with a line before each stage.

    Raises:
        CheckpointError: the network is no HCFlow.
        BudgetError: a graph misses its budget and `accept_over_budget` is not set; nothing is
            written.
        ExportError: the folder holds something else.
        ParameterError: τ is negative or no number.
        OSError: the folder cannot be written.
    """
    tau = checkpoint.default_tau if request.tau is None else request.tau
    check_tau(tau)
    if not request.with_latents:
        tau = 0.0
    model = checkpoint.model
    bundle.existing(folder, checkpoint)
    exact = copy.deepcopy(model).double()
    vectors: list[Case] = []
    artifacts = []
    for direction in request.directions:
        progress(f"{direction}: reference in float64")
        answers = list(cases(exact, direction, _taus(model, tau)))
        vectors += answers
        for precision in dict.fromkeys(("fp32", *request.precisions)):
            progress(f"{direction} {precision}: fold, export and compare")
            artifacts.append(
                artifact.build(
                    model, checkpoint.sha256, direction, precision, request.with_latents, answers
                )
            )
    misses = [line for built in artifacts for line in over_budget(built.entry)]
    if misses and not request.accept_over_budget:
        raise BudgetError(
            f"out of budget: {'; '.join(misses)}. Nothing was written; --accept-over-budget keeps "
            "such a bundle, marked"
        )
    progress("writing")
    return bundle.write(folder, request.name, checkpoint, tau, artifacts, vectors)


def _taus(model: HCFlow, tau: float) -> tuple[float, ...]:
    """Temperatures that a graph is checked at: 0, and one at which its latents count."""
    return (0.0, tau or model.config.default_tau)


def over_budget(graph: Graph) -> list[str]:
    """One line for each figure of a graph that misses its budget."""
    return [
        f"{graph.direction} {graph.precision}, {row.case}, τ {row.tau:g}, {row.output}: "
        + _figures(row)
        for row in graph.parity
        if not row.ok
    ]


def _figures(row: Parity) -> str:
    if row.max_abs is None or not math.isfinite(row.max_abs):
        return "NaN or infinity"
    psnr = "" if row.psnr_db is None else f", {row.psnr_db:.1f} dB"
    relative = "" if row.max_rel is None else f", relative {row.max_rel:.2g}"
    return f"max error {row.max_abs:.2g}{relative}{psnr}"
