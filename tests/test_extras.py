"""What each extra of pyproject.toml brings is enough for what it is for."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
    "optional-dependencies"
]
NOT_OF_TENSORRT = ("torch", "onnx_ir", "onnxruntime", "openvino", "safetensors", "skimage")


def packages(extra: str) -> set[str]:
    """The names of an extra's requirements, without versions and markers."""
    return {requirement.split(">")[0].split("=")[0] for requirement in EXTRAS[extra]}


@pytest.mark.parametrize(
    "module",
    [
        *("hcflow.commands.compile", "hcflow.commands.selftest", "hcflow.fresh_engines"),
        *("hcflow.commands.profile", "hcflow.profile_run"),
        *("export.engine_command", "export.engine_refit", "export.engine_options"),
    ],
)
def test_compiling_and_profiling_engines_needs_onnx_and_no_framework(module: str) -> None:
    code = f"import sys\nfor name in {NOT_OF_TENSORRT}: sys.modules[name] = None\nimport {module}"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr


def test_the_extra_of_engines_brings_the_onnx_that_compiling_them_imports() -> None:
    assert "onnx" in packages("tensorrt")
    assert packages("tensorrt").isdisjoint(NOT_OF_TENSORRT)
