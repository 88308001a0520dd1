"""The calibration cache: the same weights become INT8 again, without the photographs.

A report of an INT8 graph (`export.precision.report`) holds all that calibration found: what stays
float32, the magnitudes that channels were equalised by, ranges, blocks and their losses. Shipped
models have it beside their weights, so that their users need no photographs and get the same bytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from calib.encodings import FP8, INT8, Encoding
from calib.ranges import Method
from calib.sensitivity import Block, Choice
from export.errors import BudgetError, ExportError
from export.precision.evaluation import Evaluator
from export.precision.int8 import Int8
from export.precision.int8_candidates import Growth, convolutions, equalised, quantised, shared
from hcflow_ref.checkpoint.shipped import calibrations
from runtime.bundle.manifest import Direction

FORMAT = 1


@dataclass(frozen=True)
class CachedCalibration:
    """What calibration found for one direction of a network.

    Attributes:
        latents: whether the graph took (inverse) or gave (forward) latents.
        taus: temperatures that ranges were measured at.
        kept: networks kept out of float16: path → (tensor, largest magnitude).
        method, method_losses, choice, growth, channels, ranges: as in `Int8`, whose other tables
            follow from the weights.
    """

    latents: bool
    taus: tuple[float, ...]
    kept: Mapping[str, tuple[str, float]]
    method: Method
    method_losses: Mapping[Method, float]
    choice: Choice
    growth: tuple[Growth, ...]
    channels: Mapping[str, list[float]]
    ranges: Mapping[str, float]


def of_shipped(model: str, checkpoint_sha256: str) -> dict[Direction, CachedCalibration]:
    """The cached calibrations of a shipped model; empty where none is of these very weights.

    Raises:
        ExportError: a file is damaged.
    """
    found: dict[Direction, CachedCalibration] = {}
    for path in calibrations(model):
        try:
            report = json.loads(path.read_text(encoding="utf-8"))
            if report["checkpoint"] == checkpoint_sha256 and report["format"] == FORMAT:
                found[report["direction"]] = read(report)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ExportError(
                f"'{path}' is not a cached calibration ({error!r}): install hcflow-deploy again, "
                "or give --calibration DIR"
            ) from error
    return found


def read(report: Mapping[str, Any]) -> CachedCalibration:
    """The calibration in a report of an INT8 graph."""
    int8 = report["int8"]
    return CachedCalibration(
        latents=report["latents"],
        taus=tuple(int8["taus"]),
        kept={
            network: (worst["tensor"], worst["largest"])
            for network, worst in report["kept_float32"].items()
        },
        method=int8["method"],
        method_losses=int8["method_losses_db"],
        choice=Choice(
            tuple(Block(**block) for block in int8["blocks"]),
            int8["hold_out_loss_db"],
            int8["all_int8_hold_out_loss_db"],
        ),
        growth=tuple(Growth(**row) for row in int8["ranges_by_tau"]),
        channels={name: [float(x) for x in reach] for name, reach in int8["channels"].items()},
        ranges={path: float(reach) for path, reach in int8["ranges"].items()},
    )


def restore(
    evaluator: Evaluator,
    cached: CachedCalibration,
    budget_db: float | None,
    encoding: Encoding = INT8,
) -> Int8:
    """Bring a network to INT8 as it was brought there before, or to FP8 in the same blocks.

    Args:
        evaluator: of the float16 graph, whose trace is equalised in place.
        cached: of the same weights.
        budget_db: largest loss on the hold-out of then; of another encoding it is not known, and
            not held against it.
        encoding: of values and weights. The ranges of FP8 are the largest magnitudes of then.

    Raises:
        BudgetError: it lost more.
        ExportError: the calibration is of another network, or of another version of the export.
    """
    loss = cached.choice.loss_db
    if encoding is INT8 and budget_db is not None and not loss <= budget_db:
        raise BudgetError(
            f"the cached calibration loses {loss:.3f} dB, more than {budget_db:g}: give "
            "--calibration DIR to choose anew. Nothing was written"
        )
    found = shared(evaluator.traced)
    reach = {name: torch.tensor(values) for name, values in cached.channels.items()}
    if {name: len(values) for name, values in reach.items()} != found:
        raise _foreign()
    found_groups, magnitudes = equalised(evaluator.traced, reach)
    candidates = convolutions(evaluator.traced, found_groups)
    paths = {conv.path.replace(".", "/"): conv for conv in candidates}
    blocks = {block.name for block in cached.choice.blocks if block.int8}
    if cached.ranges.keys() != {path for path, conv in paths.items() if conv.block in blocks}:
        raise _foreign()
    ranges: Mapping[str, float] = cached.ranges
    chained = {path for path, conv in paths.items() if conv.chained and encoding is not INT8}
    ranges = {path: reached for path, reached in ranges.items() if path not in chained}
    if encoding is FP8:
        ranges = {path: magnitudes[paths[path].path] for path in ranges}
    return Int8(
        ranges=ranges,
        largest={path: conv.largest for path, conv in paths.items()},
        method="minmax" if encoding is FP8 else cached.method,
        method_losses=cached.method_losses if encoding is INT8 else {},
        choice=cached.choice if encoding is INT8 else _without(cached.choice, chained),
        growth=cached.growth,
        taus=cached.taus,
        channels=cached.channels,
        quantised={
            paths[path].path: quantised(paths[path], reached, encoding)
            for path, reached in ranges.items()
        },
        encoding=encoding,
    )


def _without(choice: Choice, chained: Collection[str]) -> Choice:
    """The blocks of another encoding, without these convolutions; what it loses is not known."""
    blocks = tuple(
        replace(block, int8=block.int8 and block.name.replace(".", "/") not in chained)
        for block in choice.blocks
    )
    return Choice(blocks, math.nan, math.nan)


def _foreign() -> ExportError:
    return ExportError(
        "the cached calibration does not fit this network as it is exported now: give "
        "--calibration DIR, a folder of photographs"
    )
