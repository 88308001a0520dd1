"""What TensorRT-RTX makes of full-size networks: kernels and bytes, read out of real plans.

The default model's goals, then the figures of the table in docs/engines.md with room of 3 %.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import pytest

from export.forms.rewrite import Form
from hcflow_ref.network.config import OFFICIAL
from hcflow_ref.network.synthetic_weights import synthetic
from runtime.bundle.engines.program import Program

pytest.importorskip("tensorrt_rtx", reason="the package tensorrt-rtx-cu13 (240 MB)")
pytestmark = pytest.mark.slow

ROOM = 1.03


@functools.cache
def graph(network: str, precision: Any) -> bytes:
    from benchmarks import engines  # noqa: PLC0415

    return engines.ours(synthetic(OFFICIAL[network]), "inverse", precision)


def program(network: str, precision: Any, form: Form, capability: str = "8.9") -> Program:
    from benchmarks import programs  # noqa: PLC0415

    options = replace(programs.OPTIONS, compute_capabilities=(capability,))
    return programs.program(graph(network, precision), form, options)


def megabytes(found: Program) -> float:
    assert found.bytes is not None
    return found.bytes / 1e6


def test_the_default_model_moves_at_most_300_mb_in_at_most_380_kernels() -> None:
    found = program("rescale_x4", "fp16", "pass-through")
    assert megabytes(found) <= 300
    assert found.kernels <= 380


@pytest.mark.parametrize(
    ("network", "precision", "form", "kernels", "moved"),
    [
        ("rescale_x4", "fp16", "sums", 409, 303.1),
        ("rescale_x4", "fp16", "folded", 395, 282.8),
        ("rescale_x4", "fp32", "sums", 401, 573.7),
        ("sr_x4", "fp16", "pass-through", 998, 1075.0),
        ("sr_x8", "fp16", "pass-through", 1208, 3622.0),
    ],
)
def test_a_network_in_a_form_keeps_to_its_figures(
    network: str, precision: str, form: Form, kernels: int, moved: float
) -> None:
    found = program(network, precision, form)
    assert megabytes(found) <= ROOM * moved
    assert found.kernels <= ROOM * kernels


def test_turing_moves_less_with_sums_than_with_any_other_form() -> None:
    found = program("rescale_x4", "fp16", "sums", "7.5")
    assert megabytes(found) <= ROOM * 422.9
