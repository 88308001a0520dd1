"""Our calls into TensorRT-RTX have names and types that the installed library has.

The stubs published for TensorRT 10.13 are not valid Python (some signatures do not parse) and do
not cover TensorRT-RTX, so mypy checks against stubs made from the installed module.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

trt = pytest.importorskip("tensorrt_rtx", reason="the package tensorrt-rtx-cu13 (240 MB)")

ROOT = Path(__file__).parents[2]
CHECKED = (
    *("export.engine.compile", "export.engine.refit"),
    *("runtime.backends.tensorrt_stream", "runtime.backends.tensorrt_engine"),
)
CONVERTED = re.compile(r'"Dims"|expected "Buffer"|\[no-any-return\]')
"""pybind11 converts a tuple to `Dims` and memory to a buffer; its signatures do not say so."""


def stubs(folder: Path) -> Path:
    """Stubs of the installed library; signatures that are not valid Python take anything."""
    stubgen = [sys.executable, "-c", "from mypy.stubgen import main; main()"]
    command = [*stubgen, "--inspect-mode", "-o", str(folder), "-m"]
    module = "tensorrt_rtx_bindings.tensorrt_rtx"
    subprocess.run([*command, module], check=True, capture_output=True, cwd=folder)
    path = folder / "tensorrt_rtx_bindings" / "tensorrt_rtx.pyi"
    lines = path.read_text(encoding="utf-8").splitlines()
    while True:
        try:
            ast.parse("\n".join(lines))
            break
        except SyntaxError as error:
            bad = (error.lineno or 1) - 1
            found = re.match(r"(\s*)def (\w+)\(", lines[bad])
            assert found, lines[bad]
            lines[bad] = f"{found[1]}def {found[2]}(self, *args: object, **kwargs: object): ..."
    path.write_text("\n".join(lines), encoding="utf-8")
    return folder


def test_calls_into_the_library_have_names_and_types_that_it_has(tmp_path: Path) -> None:
    seeded = tmp_path / "seeded.py"
    seeded.write_text(
        "import tensorrt_rtx_bindings.tensorrt_rtx as api\n"
        "def f(config: api.IBuilderConfig) -> None:\n"
        "    config.set_flagg(api.BuilderFlag.TF32)\n"
        "    config.builder_optimization_level = 'high'\n",
        encoding="utf-8",
    )
    modules = [part for name in (*CHECKED, "seeded") for part in ("-m", name)]
    run = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path / "cache"), *modules],
        cwd=ROOT,
        env=os.environ | {"MYPYPATH": f"{stubs(tmp_path)}{os.pathsep}{tmp_path}"},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = run.stdout.splitlines()
    ours = [x for x in lines if re.match(r"(export|runtime)/.*: error:", x)]
    assert [x for x in ours if not CONVERTED.search(x)] == [], run.stdout
    found = [x for x in lines if "seeded.py" in x and ": error:" in x]
    assert len(found) == 2, run.stdout + run.stderr
