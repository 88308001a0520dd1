"""The runtime stays light: what it may import, and how long that may take."""

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

_BLOCK = """
import sys
for name in ("torch", "onnx", "onnxruntime", "export", "hcflow_ref", "typer", "rich", "scipy"):
    sys.modules[name] = None  # importing it raises ImportError
"""


def python(code: str) -> str:
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


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
def test_importing_loads_nothing_but_numpy_and_pillow(module: str) -> None:
    names = "print(*(name for name, module in sys.modules.items() if module))"
    packages = {
        loaded: {name.split(".")[0] for name in python(f"{_BLOCK}import {loaded}\n{names}").split()}
        for loaded in ("numpy, PIL.Image", module)
    }
    added = packages[module] - packages["numpy, PIL.Image"] - set(sys.stdlib_module_names)
    assert added <= {"runtime", "hcflow"}


@pytest.mark.slow
@pytest.mark.parametrize("module", ["runtime", "hcflow"])
def test_importing_takes_at_most_three_times_as_long_as_numpy_and_pillow(module: str) -> None:
    times: dict[str, list[float]] = {"numpy, PIL.Image": [], module: []}
    for _ in range(7):
        for loaded, seconds in times.items():
            timed = f"import {loaded}\nprint(time.process_time() - start)"
            seconds.append(float(python(f"import time\nstart = time.process_time()\n{timed}")))
    assert min(times[module]) < 3 * min(times["numpy, PIL.Image"])


def test_a_missing_backend_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['onnxruntime'] = None; sys.path.insert(0, '.')\n"
        "import numpy, runtime\n"
        f"model = runtime.load({str(tmp_path / 'b')!r})\n"
        "try: model.upscale(numpy.zeros((2, 2)))\n"
        "except runtime.BackendError as error: print(error)"
    )
    write_bundle(tmp_path / "b")
    assert "pip install 'hcflow-deploy[cpu]'" in python(code)
