"""The shipped model at full size: peak memory of an 8K output, and the host's share of the time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.overhead import share
from export.pipeline import Request, build
from hcflow.models.shipped import DEFAULT
from hcflow_ref.checkpoint.load import load
from hcflow_ref.checkpoint.shipped import weights

pytestmark = pytest.mark.slow

MOST_BYTES = 1.5e9
MOST_OF_GRAPH = 0.05


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shipped") / "b"
    manifest = build(load(weights(DEFAULT)), folder, Request(DEFAULT, ("inverse",)))
    assert manifest.graphs[0].tile is not None
    return folder


def test_an_8k_output_of_the_shipped_model_stays_below_a_gigabyte_and_a_half(
    bundle: Path,
) -> None:
    command = [sys.executable, "-m", "benchmarks.memory", str(bundle), "--rows", "2"]
    figures = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert figures["rows"][0] == 2
    assert figures["output"] == [7680, 4320]
    assert figures["peak_bytes"] < MOST_BYTES


@pytest.mark.parametrize("tau", [0.0, 1.0])
def test_the_host_takes_at_most_a_twentieth_of_the_graphs_time(bundle: Path, tau: float) -> None:
    assert share(bundle, "onnxruntime", 64, tau, rounds=3) <= MOST_OF_GRAPH
