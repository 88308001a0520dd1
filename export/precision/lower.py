"""A network brought below fp32: float16, INT8 or FP8 on top of it, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch.fx import GraphModule

from calib import images
from calib.encodings import FP8, INT8, INT8_PER_TENSOR, Encoding
from calib.images import Crops
from export.errors import BudgetError, ExportError
from export.folded.fold import GraphSpec, deploy
from export.graph import trace
from export.precision import calibration_cache, evaluation, fp16, int8
from export.precision.calibration_cache import CachedCalibration
from export.precision.evaluation import Images, Trial, evaluator, inputs_of
from export.precision.int8 import Int8
from export.precision.int8_candidates import Progress
from hcflow_ref.network.hcflow import HCFlow
from hcflow_ref.network.irn import IRN
from runtime.bundle.manifest import Loss, Precision, Target

CROP_SIDE = 32
"""Side of a calibration crop in LR pixels."""


_ENCODINGS: Mapping[tuple[Precision, Target | None], Encoding] = {
    ("int8", None): INT8,
    ("int8", "rtx"): INT8_PER_TENSOR,
    ("fp8", "rtx"): FP8,
}


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
        fp8_budget_db: of FP8.
        cached: what calibration found before, in place of crops.
    """

    crops: Crops | None = None
    int8_budget_db: float | None = None
    fp8_budget_db: float | None = None
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
    exact: GraphModule | None = None,
) -> Lowered:
    """Bring one direction of a network to fp16 or int8 and measure it.

    Args:
        model: the reference.
        spec: of a graph in `fp16`, `int8` or `fp8`; one of 8 bits is float16 everywhere else.
        taus: temperatures that it is measured at.
        calibration: what the precision is chosen by.
        higher: for 8 bits, the same direction in fp16 where that is known: it keeps the same
            networks in float32.
        progress: called with a line before each step.
        exact: the trace of the same graph in fp32, where it is known.

    Raises:
        ExportError: no network fits into float16, or there is nothing to choose INT8 by.
        BudgetError: INT8 or FP8 cannot keep to its budget.
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
    graph = evaluator(model, spec, traced, exact)
    restored: list[Images] = []  # the photographs by the fp32 graph, where they are known
    if crops is None:
        seen = [trial for _, trial in photographs]
    else:
        seen = int8.calibration_trials(make, crops, taus)
    encoding = _ENCODINGS.get((spec.precision, spec.target))
    budget_db = calibration.fp8_budget_db if encoding is FP8 else calibration.int8_budget_db
    if encoding is not None and crops is None and cached is not None:
        kept = dict(cached.kept)
    elif higher is None:
        progress(f"{spec.direction} {spec.precision}: ranges of float16")
        kept, outputs = fp16.beyond_float16(traced, graph, seen)
        restored = [graph.restored(each) for each in outputs if crops is None]
    else:
        kept = dict(higher.kept)
    if kept:
        traced = trace.trace(deploy(model, spec, frozenset(kept)))
        graph = evaluator(model, spec, traced, graph.exact)
    chosen = None
    if encoding is not None:
        if crops is not None and budget_db is not None:
            chosen = int8.choose(
                graph,
                seen,
                make(crops.hold_out, 0.0),
                make(int8.middle(crops.hold_out, model.config.scale), 0.0),
                budget_db,
                lambda line: progress(f"{spec.direction} {spec.precision}: {line}"),
                encoding,
            )
        elif cached is not None:
            chosen = calibration_cache.restore(graph, cached, budget_db, encoding)
        else:
            raise ExportError("INT8 and FP8 need photographs to calibrate on, and a budget")
    tables = chosen.quantised if chosen else None
    compared = evaluation.compare(graph, photographs, tables, restored or None)
    pictures = {each.name: (each.exact[0], each.low[0]) for each in compared if each.trial.tau == 0}
    losses = evaluation.losses(graph, compared)
    if crops is None and encoding not in (None, INT8) and budget_db is not None:
        _check_photographs(spec, losses, budget_db)
    return Lowered(traced, kept, chosen, losses, pictures)


def _check_photographs(spec: GraphSpec, losses: Sequence[Loss], budget_db: float) -> None:
    """Hold a graph to its budget whose own loss on a hold-out is not in the calibration cache."""
    found = [row.loss_db for row in losses if row.tau == 0]
    if not (mean := float(np.mean(found))) <= budget_db:
        raise BudgetError(
            f"{spec.direction} {spec.precision} with the cached calibration of INT8 loses "
            f"{mean:.3f} dB on the evaluation photographs, more than {budget_db:g}: give "
            "--calibration DIR to choose anew. Nothing was written"
        )
