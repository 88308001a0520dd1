"""What each extra of pyproject.toml brings is enough for what it is for."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from hcflow.models import extras

ROOT = Path(__file__).parents[2]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
    "optional-dependencies"
]
NOT_OF_TENSORRT = ("torch", "onnx_ir", "onnxruntime", "openvino", "safetensors", "skimage")


def packages(extra: str) -> set[str]:
    """The names of an extra's requirements, without versions and markers."""
    return {re.split(r"[>=;]", requirement)[0] for requirement in EXTRAS[extra]}


@pytest.mark.parametrize(
    "module",
    [
        *("hcflow.commands.compile", "hcflow.commands.selftest", "hcflow.models.engines"),
        *("hcflow.commands.profile", "hcflow.measure.profile"),
        *("hcflow.cli.engine_progress", "export.engine.refit", "export.engine.options"),
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


def test_no_extra_brings_a_second_onnxruntime_beside_the_one_for_gpus() -> None:
    both = {"onnxruntime", "onnxruntime-gpu"}
    bringing = {extra: packages(extra) & both for extra in EXTRAS if packages(extra) & both}
    assert bringing == {"cpu": {"onnxruntime"}, "gpu": {"onnxruntime-gpu"}}


def test_what_to_install_for_building_leaves_the_onnxruntime_that_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("onnxruntime")
    assert extras.to_build() == "pip install 'hcflow-deploy[export]'"
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert extras.to_build() == "pip install 'hcflow-deploy[cpu,export]'"


def locked(lock: str) -> set[str]:
    lines = (ROOT / "setup" / lock).read_text(encoding="utf-8").splitlines()
    return {line.split("==")[0] for line in lines if "==" in line}


def test_the_lock_names_every_package_of_every_extra_but_pytorch_gpus_and_two_clouds() -> None:
    wanted = {name for extra in EXTRAS.keys() - {"gpu", "gcs", "azure"} for name in packages(extra)}
    missing = {name for name in wanted if "[" not in name} - locked("all.lock")
    assert missing == {"torch"}


def test_the_demo_installs_what_building_needs_and_no_more() -> None:
    assert packages("export") - locked("demo.lock") == {"torch"}
    assert "onnxruntime" in locked("demo.lock")
    assert locked("demo.lock").isdisjoint({"openvino", "scikit-image", "mypy", "pytest"})
    assert not [name for name in locked("demo.lock") if name.startswith(("nvidia", "cuda"))]


@pytest.mark.parametrize("lock", ["demo.lock", "all.lock"])
def test_every_locked_file_has_a_hash_and_no_address(lock: str) -> None:
    text = (ROOT / "setup" / lock).read_text(encoding="utf-8")
    assert "://" not in text
    entries = re.split(r"\n(?=[a-z])", text.strip())
    assert all("--hash=sha256:" in entry for entry in entries)
