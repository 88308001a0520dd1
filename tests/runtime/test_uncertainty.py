"""Uncertainty: the mean of samples and their deviation, from Python and the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import runtime
from hcflow.cli.program import application
from runtime import Model, ParameterError
from runtime.images.codecs import files
from runtime.images.codecs.metadata import provenance
from runtime.inference.grid import Grid
from tests.support.noise import noise


def test_uncertainty_is_mean_and_deviation_of_the_draws(tiny_model: Model) -> None:
    image = noise(11, 9) / 255
    draws = np.stack(tiny_model.upscale(image, tau=0.2, seed=4, samples=5))
    mean, deviation = tiny_model.uncertainty(image, tau=0.2, seed=4, samples=5, size=(42, 36))
    np.testing.assert_allclose(mean, draws.mean(axis=0)[:42], atol=1e-6)
    expected = np.sqrt(draws.var(axis=0).mean(axis=2))[:42]
    np.testing.assert_allclose(deviation, expected, atol=1e-5)
    with pytest.raises(ParameterError, match="a deviation needs 2 or more"):
        tiny_model.uncertainty(image, samples=1)


def cli(*arguments: object) -> Any:
    return CliRunner().invoke(application(), list(map(str, arguments)))


def test_the_command_tiles_reports_and_maps_uncertainty(small_bundle: Path, tmp_path: Path) -> None:
    source, out, heat, mask = (tmp_path / f"{name}.png" for name in ("in", "out", "heat", "mask"))
    Image.fromarray(noise(30, 34)).save(source)
    Image.new("L", (5, 5), 128).save(mask)
    grid = ("--model", small_bundle, "--tile", 12, "--overlap", 4, "--json")
    result = cli("upscale", source, "-o", out, *grid, "--tau", 0.5, "--tau-map", mask)
    tiles = json.loads(result.stdout)["tiles"]
    border = runtime.Bundle.open(small_bundle).graph("inverse", "fp32", True).border
    grid_of_it = Grid(30, 34, 12, 4, border)
    assert tiles["tiles"] == grid_of_it.rows * grid_of_it.columns > 1
    assert (tiles["tile"], tiles["overlap"], tiles["healed"]) == (12, 4, [])
    assert Image.open(out).size == (136, 120)
    result = cli("upscale", source, "-o", out, *grid, "--tau", 0.5, "--uncertainty", heat)
    assert json.loads(result.stdout)["largest"] > 0
    assert Image.open(heat).size == Image.open(out).size
    result = cli("downscale", source, "-o", out, *grid, "--no-round-trip")
    result = cli(
        "upscale", out, "-o", heat, "--model", small_bundle, "--uncertainty", mask, "--tau", 0.5
    )
    assert result.exit_code == 0, result.output
    assert Image.open(heat).size == (34, 30)  # what the record in the small image says
    assert provenance.extract(files.read(str(heat)).xmp, "x") is None
    result = cli("downscale", source, "-o", out, *grid, "--no-round-trip")
    assert json.loads(result.stdout)["tiles"]["tiles"] == 1
    result = cli("upscale", source, "-o", out, "--model", small_bundle, "--tile", 4, "--overlap", 5)
    assert result.exit_code == 1
    assert "overlap 5 is larger than tile 4" in result.stderr
