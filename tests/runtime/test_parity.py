"""Parity: the budgets of each precision, and figures that cannot be fooled."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.checks.parity import compare

WANT = np.linspace(0, 1, 300).reshape(1, 3, 10, 10)


def test_identical_arrays_have_no_finite_psnr() -> None:
    result = compare("hr", WANT, WANT, "fp32")
    assert (result.psnr_db, result.max_abs, result.max_rel, result.ok) == (None, 0.0, 0.0, True)


def test_figures_are_those_of_a_known_error() -> None:
    result = compare("hr", WANT + 1e-3, WANT, "fp16")
    assert result.psnr_db == pytest.approx(60)
    assert result.max_abs == pytest.approx(1e-3)
    assert result.ok


@pytest.mark.parametrize(
    ("name", "precision", "error", "ok"),
    [
        ("hr", "fp32", 3e-5, True),
        ("hr", "fp32", 4e-5, False),  # 88 dB
        ("lr", "fp16", 3e-3, True),
        ("lr", "fp16", 4e-3, False),
        ("hr", "int8", 0.5, True),
        ("z1", "fp32", 0.9e-4, True),
        ("z1", "fp32", 1.1e-4, False),
        ("logp", "fp16", 1.0, True),
    ],
)
def test_budgets(name: str, precision: str, error: float, ok: bool) -> None:
    assert compare(name, WANT + error, WANT, precision).ok is ok  # type: ignore[arg-type]


def test_one_bad_pixel_breaks_the_fp32_budget_of_an_image() -> None:
    got = np.zeros((1, 3, 1000, 1000))
    got[0, 0, 0, 0] = 1.5e-4
    result = compare("hr", got, np.zeros_like(got), "fp32")
    assert result.psnr_db is not None
    assert result.psnr_db > 90
    assert not result.ok


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_nan_and_infinity_are_never_ok(bad: float, precision: str) -> None:
    got = WANT.copy()
    got[0, 0, 0, 0] = bad
    assert not compare("hr", got, WANT, precision).ok  # type: ignore[arg-type]
    assert not compare("z1", got, got, precision).ok  # type: ignore[arg-type]


def test_another_shape_is_never_ok() -> None:
    assert not compare("hr", WANT[..., :1], WANT, "int8").ok
