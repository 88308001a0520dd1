"""Peak resident memory of an 8K output, measured in a process of its own, the image included."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from export.pipeline import Request, build
from hcflow_ref.checkpoint import load
from hcflow_ref.models import DEFAULT, weights

pytestmark = pytest.mark.slow

MOST_BYTES = 1.5e9


def test_an_8k_output_of_the_shipped_model_stays_below_a_gigabyte_and_a_half(
    tmp_path: Path,
) -> None:
    manifest = build(load(weights(DEFAULT)), tmp_path / "b", Request(DEFAULT, ("inverse",)))
    assert manifest.graphs[0].tile is not None
    command = [sys.executable, "-m", "benchmarks.memory", tmp_path / "b", "--bands", "2"]
    figures = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert figures["bands"][0] == 2
    assert figures["output"] == [7680, 4320]
    assert figures["peak_bytes"] < MOST_BYTES
