"""A network brought below fp32: float16, INT8 on top of it, and what both cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch.fx import GraphModule

from calib import images
from calib.images import Crops
from export.errors import ExportError
from export.folded.fold import GraphSpec, deploy
from export.graph import trace
from export.precision import calibration_cache, evaluation, fp16, int8
from export.precision.calibration_cache import CachedCalibration
from export.precision.evaluation import Trial, evaluator, inputs_of
from export.precision.int8 import Int8
from export.precision.int8_candidates import Progress
from hcflow_ref.network.hcflow import HCFlow
from hcflow_ref.network.irn import IRN
from runtime.bundle.manifest import Loss

CROP_SIDE = 32
"""Side of a calibration crop in LR pixels."""


@dataclass(frozen=True)
class Lowered:
    """A network below fp32, ready to be emitted.

    Attributes:
        traced: float16 where the graph has it.
        kept: networks kept out of float16: path → (tensor, largest magnitude).
        int8: the convolutions chosen for INT8; `None` for fp16.
        losses: on the four evaluation photographs, which only report.
        pictures: the fp32 graph's image and this one's of each photograph, at τ = 0.
    """

    traced: GraphModule
    kept: Mapping[str, tuple[str, float]]
    int8: Int8 | None
    losses: tuple[Loss, ...]
    pictures: Mapping[str, tuple[NDArray[np.float32], NDArray[np.float32]]]


@dataclass(frozen=True)
class Calibration:
    """What a precision is chosen by.

    Attributes:
        crops: used to choose ranges and INT8 blocks; without them the evaluation photographs tell
            what passes the range of float16.
        int8_budget_db: largest loss of INT8 on the hold-out, in dB.
        cached: what calibration found before, in place of crops.
    """

    crops: Crops | None = None
    int8_budget_db: float | None = None
    cached: CachedCalibration | None = None


def read_crops(model: HCFlow | IRN, folder: Path, note: Progress) -> Crops:
    """The calibration crops for a network; `note` is called about each skipped file."""
    return images.crops(folder, CROP_SIDE * model.config.scale, note)


def lower(
    model: HCFlow | IRN,
    spec: GraphSpec,
    taus: tuple[float, ...],
    calibration: Calibration,
    higher: Lowered | None,
    progress: Progress,
) -> Lowered:
    """Bring one direction of a network to fp16 or int8 and measure it.

    Args:
        model: the reference.
        spec: of a graph in `fp16` or `int8`; an int8 graph is float16 wherever it is not INT8.
        taus: temperatures that it is measured at.
        calibration: what the precision is chosen by.
        higher: for int8, the same direction in fp16 where that is known: it keeps the same
            networks in float32.
        progress: called with a line before each step.

    Raises:
        ExportError: no network fits into float16, or there is nothing to choose INT8 by.
        BudgetError: INT8 cannot keep to its budget.
    """
    if spec.direction == "forward" or not spec.latents:
        taus = (0.0,)

    def make(truth: NDArray[np.float32], tau: float) -> Trial:
        return inputs_of(model, spec, truth, tau)

    taus = tuple(dict.fromkeys(taus))
    crops, cached = calibration.crops, calibration.cached
    photographs = [
        (name, make(truth, tau))
        for name, truth in evaluation.photograph_trials(model.config.scale)
        for tau in taus
    ]
    traced = trace.trace(deploy(model, spec))
    graph = evaluator(model, spec, traced)
    if crops is None:
        seen = [trial for _, trial in photographs]
    else:
        seen = int8.calibration_trials(make, crops, taus)
    if spec.precision == "int8" and crops is None and cached is not None:
        kept = dict(cached.kept)
    elif higher is None:
        progress(f"{spec.direction} {spec.precision}: ranges of float16")
        kept = fp16.beyond_float16(traced, graph, seen)
    else:
        kept = dict(higher.kept)
    if kept:
        traced = trace.trace(deploy(model, spec, frozenset(kept)))
        graph = evaluator(model, spec, traced)
    chosen = None
    if spec.precision == "int8":
        if crops is not None and calibration.int8_budget_db is not None:
            chosen = int8.choose(
                graph,
                seen,
                make(crops.hold_out, 0.0),
                make(int8.middle(crops.hold_out, model.config.scale), 0.0),
                calibration.int8_budget_db,
                lambda line: progress(f"{spec.direction} {spec.precision}: {line}"),
            )
        elif cached is not None:
            chosen = calibration_cache.restore(graph, cached, calibration.int8_budget_db)
        else:
            raise ExportError("INT8 needs photographs to calibrate on, and a budget")
    compared = evaluation.compare(graph, photographs, chosen.quantised if chosen else None)
    pictures = {each.name: (each.exact[0], each.low[0]) for each in compared if each.trial.tau == 0}
    return Lowered(traced, kept, chosen, evaluation.losses(graph, compared), pictures)
