"""The line that keeps the runtime light: what it may import, and how long that may take."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.bundles import write_bundle

ROOT = Path(__file__).parents[2]
ALLOWED = {"numpy", "PIL", "runtime", "onnxruntime", "openvino", "cuda", "tensorrt_rtx_bindings"}
ALLOWED |= set(sys.stdlib_module_names)

_PROBE = """
import sys, time
for name in {blocked}:
    sys.modules[name] = None  # importing it raises ImportError
start = time.process_time()
import {module}
print(time.process_time() - start)
"""


def test_the_runtime_imports_nothing_but_numpy_pillow_and_its_backends() -> None:
    for path in (ROOT / "runtime").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                assert name.split(".")[0] in ALLOWED, f"{path} imports {name}"


@pytest.mark.parametrize("module", ["runtime", "hcflow"])
def test_importing_needs_no_framework_and_little_time(module: str) -> None:
    blocked = ["torch", "onnx", "onnxruntime", "export", "hcflow_ref", "typer", "rich", "scipy"]
    code = _PROBE.format(blocked=blocked, module=module)
    times = []
    for _ in range(3):  # processor time, and the best of three: the machine may be busy
        run = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, run.stderr
        times.append(float(run.stdout))
    assert min(times) < 0.3


def test_a_missing_backend_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['onnxruntime'] = None; sys.path.insert(0, '.')\n"
        "import numpy, runtime\n"
        f"model = runtime.load({str(tmp_path / 'b')!r})\n"
        "try: model.upscale(numpy.zeros((2, 2)))\n"
        "except runtime.BackendError as error: print(error)"
    )
    write_bundle(tmp_path / "b")
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "pip install 'hcflow-deploy[cpu]'" in run.stdout
