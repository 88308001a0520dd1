"""Parity: a built graph against the float64 reference, output by output."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from numpy.typing import NDArray

from export.checks.reference_cases import Case
from export.folded.fold import GraphSpec
from runtime.bundle.manifest import Parity
from runtime.bundle.uint8_images import IO, fits
from runtime.checks.parity import compare

Arrays = Mapping[str, NDArray[Any]]
Runner = Callable[[Arrays], Arrays]
"""Inputs by name → outputs by name."""


def check(
    runner: Runner,
    cases: Iterable[Case],
    spec: GraphSpec,
    how: str = "",
) -> list[Parity]:
    """Every output of every case, compared and held to the precision's budget.

    Args:
        runner: what computes the graph.
        cases: inputs and the reference's outputs.
        spec: of the graph. Its precision sets the budget; of an inverse without latents only cases
            of τ = 0 count; with uint8 images only cases whose image has 8 bits.
        how: added to the case's name, where one graph is run in several ways.
    """
    rows = []
    for case in cases:
        if spec.direction == "inverse" and not spec.latents:
            if case.tau > 0:
                continue
            inputs: Arrays = {"lr": case.inputs["lr"]}
        else:
            inputs = case.inputs
        if spec.io == IO and not fits(case.inputs):
            continue
        outputs = runner(inputs)
        for name, want in case.outputs.items():
            if name not in outputs and (spec.io == IO or not spec.latents):
                continue
            figures = compare(name, outputs[name], want, spec.precision, spec.io)
            rows.append(
                Parity(
                    case=f"{case.name}{how}",
                    tau=case.tau,
                    output=name,
                    psnr_db=figures.psnr_db,
                    max_abs=figures.max_abs,
                    max_rel=figures.max_rel,
                    ok=figures.ok,
                )
            )
    return rows
