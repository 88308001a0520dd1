"""Parity: a built graph against the float64 reference, output by output."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from numpy.typing import NDArray

from export.checks.reference_cases import Case
from runtime.bundle.manifest import Parity, Precision
from runtime.bundle.uint8_images import IO, fits
from runtime.checks.parity import compare

Arrays = Mapping[str, NDArray[Any]]
Runner = Callable[[Arrays], Arrays]
"""Inputs by name → outputs by name."""


def check(
    runner: Runner,
    cases: Iterable[Case],
    with_latents: bool,
    precision: Precision,
    how: str = "",
    io: str = "float32",
) -> list[Parity]:
    """Every output of every case, compared and judged by the precision's budget.

    Args:
        runner: what computes the graph.
        cases: inputs and the reference's outputs.
        with_latents: whether the graph takes latents; without them only cases of τ = 0 count.
        precision: whose budget holds.
        how: added to the case's name, where one graph is run in several ways.
        io: the graph's boundary; one of bytes is checked on the cases whose image has 8 bits.
    """
    rows = []
    for case in cases:
        if case.direction == "inverse" and not with_latents:
            if case.tau > 0:
                continue
            inputs: Arrays = {"lr": case.inputs["lr"]}
        else:
            inputs = case.inputs
        if io == IO and not fits(case.inputs):
            continue
        outputs = runner(inputs)
        for name, want in case.outputs.items():
            if io == IO and name not in outputs:
                continue
            figures = compare(name, outputs[name], want, precision, io)
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
