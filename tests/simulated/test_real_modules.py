"""Every name that we use of TensorRT and TensorRT-RTX exists in the real modules.

TensorRT's bindings are a real wheel, imported here over stubs of the nine C symbols that they need;
TensorRT-RTX is installed as a whole. Neither needs a GPU to be looked at.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
USERS = sorted((*ROOT.glob("runtime/backends/tensorrt*.py"), *ROOT.glob("export/engine/*.py")))
MODULES = {"tensorrt": "tensorrt_bindings", "tensorrt-rtx": "tensorrt_rtx"}

SYMBOLS = (
    "createInferBuilder_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createInferRefitter_INTERNAL",
    "getBuilderPluginRegistry",
    "getPluginRegistry",
    "createNvOnnxParser_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "getNvOnnxParserVersion",
    "initLibNvInferPlugins",
)
LIBRARIES = ("libnvinfer.so.11", "libnvinfer_plugin.so.11", "libnvonnxparser.so.11")

RTX_ALONE = {
    "IExecutionContext.is_stream_capturable",
    "IBuilderConfig.num_compute_capabilities",
    "IBuilderConfig.set_compute_capability",
    "ComputeCapability",
    "CudaGraphStrategy",
    "DynamicShapesKernelSpecializationStrategy",
    "EngineInvalidityDiagnostics",
    "EngineValidity",
    "BuilderFlag.REQUIRE_USER_ALLOCATION",
    "IRuntimeConfig.create_runtime_cache",
    "IRuntimeConfig.cuda_graph_strategy",
    "IRuntimeConfig.dynamic_shapes_kernel_specialization_strategy",
    "IRuntimeConfig.set_runtime_cache",
    "Runtime.get_engine_validity",
}
"""What our code uses of TensorRT-RTX where it has asked which library it is."""

# A module's names, with those of its classes, as JSON; or null where it cannot be imported.
_LIST = (
    "import importlib, json, sys\n"
    "module = importlib.import_module(sys.argv[1])\n"
    "names = {n: getattr(module, n) for n in dir(module)}\n"
    "print(json.dumps({n: dir(v) if isinstance(v, type) else [] for n, v in names.items()}))\n"
)


@pytest.fixture(scope="module", params=MODULES)
def library(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if importlib.util.find_spec(MODULES[name]) is None:
        pytest.skip(f"{MODULES[name]} is not installed")
    if name == "tensorrt" and shutil.which("cc") is None:
        pytest.skip("no C compiler")
    return name


@pytest.fixture(scope="module")
def real(library: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Names of the real module → names of its classes' members."""
    environment = dict(os.environ)
    if library == "tensorrt":
        environment["LD_LIBRARY_PATH"] = str(_stubs(tmp_path_factory.mktemp("stubs")))
    run = subprocess.run(
        [sys.executable, "-c", _LIST, MODULES[library]],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found: dict[str, list[str]] = json.loads(run.stdout)
    return found


def _stubs(folder: Path) -> Path:
    source = folder / "stubs.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in SYMBOLS))
    for name in LIBRARIES:
        target = ["-o", folder / name, source]
        subprocess.run(["cc", "-shared", "-fPIC", f"-Wl,-soname,{name}", *target], check=True)
    return folder


def _has(real: dict[str, list[str]], name: str) -> bool:
    head, _, member = name.partition(".")
    return head in real and (not member or member in real[head])


@functools.cache
def _used() -> dict[str, str]:
    """`Class.member` or `name` of the libraries that our code names → where."""
    found = {}
    for path in USERS:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for name, line in _names(tree):
            found[name] = f"{path.relative_to(ROOT)}:{line}"
    return found


def _names(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Names read off the module `trt`, and off variables annotated as `api.Class`."""
    kinds = dict(_annotated(tree))
    aliases = dict(_aliases(tree))
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute):
            continue
        owner = ast.unparse(node.value)
        if owner in ("trt", "self.trt"):
            yield node.attr, node.lineno
        elif owner in kinds:
            yield f"{kinds[owner]}.{node.attr}", node.lineno
        elif owner in aliases:
            yield f"{aliases[owner]}.{node.attr}", node.lineno
        elif owner.startswith(("trt.", "self.trt.")) and owner.count(".") == owner.count("trt."):
            yield f"{owner.rpartition('.')[2]}.{node.attr}", node.lineno


def _annotated(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign):
            target, kind = ast.unparse(node.target), ast.unparse(node.annotation)
        elif isinstance(node, ast.arg) and node.annotation is not None:
            target, kind = node.arg, ast.unparse(node.annotation)
        else:
            continue
        if kind.startswith("api."):
            yield target, kind.removeprefix("api.").partition(" ")[0]  # not of `| None`
    if any(isinstance(node, ast.ClassDef) and node.name == "LoadedEngine" for node in tree.body):
        yield "self.engine", "ICudaEngine"  # elsewhere it is an engine's entry
    yield "prepared.context", "IExecutionContext"
    yield "self._config", "IRuntimeConfig"


def _aliases(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """`flags = trt.BuilderFlag`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Attribute):
            owner = ast.unparse(node.value.value)
            if owner in ("trt", "self.trt"):
                yield ast.unparse(node.targets[0]), node.value.attr


def test_every_name_that_our_code_uses_exists(library: str, real: dict[str, list[str]]) -> None:
    allowed = RTX_ALONE if library == "tensorrt" else set()
    missing = {name: where for name, where in _used().items() if not _has(real, name)}
    assert not {
        name: where
        for name, where in missing.items()
        if name not in allowed and name.partition(".")[0] not in allowed
    }


def test_the_check_sees_the_names_that_matter() -> None:
    assert {
        "Builder",
        "Builder.build_serialized_network",
        "BuilderFlag.TF32",
        "IBuilderConfig.add_optimization_profile",
        "ICudaEngine.create_execution_context",
        "IExecutionContext.execute_async_v3",
        "IExecutionContext.is_stream_capturable",
        "OnnxParser.parse",
    } <= set(_used())


def test_the_simulated_module_has_nothing_that_the_real_one_lacks(
    library: str, real: dict[str, list[str]]
) -> None:
    name = library.replace("-", "_")
    run = subprocess.run(
        [sys.executable, "-c", _SIMULATED, name],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    simulated: dict[str, list[str]] = json.loads(run.stdout)
    invented = [
        f"{kind}.{member}" if member else kind
        for kind, members in simulated.items()
        for member in ("", *members)
        if not _has(real, f"{kind}.{member}" if member else kind)
    ]
    assert not invented


_SIMULATED = (
    "import enum, json, sys\n"
    "from tests.simulated import tensorrt_module\n"
    "module = tensorrt_module.make(sys.argv[1], '1.0', None)\n"
    "kinds = {n: v for n, v in vars(module).items() if isinstance(v, type) and n[0] != '_'}\n"
    "def members(kind):\n"
    "    names = kind.__members__ if issubclass(kind, enum.Enum) else dir(kind)\n"
    "    return [name for name in names if name[0] != '_']\n"
    "shown = {name: members(kind) for name, kind in kinds.items() if name != 'nptype'}\n"
    "print(json.dumps(shown))\n"
)
