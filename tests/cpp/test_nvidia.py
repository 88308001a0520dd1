"""The C++ backends name what NVIDIA's headers and libraries have."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import re
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support import cpp_library
from tests.support.cpp_library import SLOW_MARK, SOURCE, run

pytestmark = cpp_library.MARKS

# TensorRT 10.14.1 (Apache-2.0) and CUDA 13.5: wheels that contain headers. Their code is not run.
TENSORRT = (
    "kernel-lens==2.0.1",
    "07cc714e8b5e7f34b672f7c7fad93febe7c747be5837ba276b1527370134ffe0",
    "kernel_lens/include/tensorrt",
)
CUDA = (
    "nvidia-cuda-runtime==13.5.37",
    "df2b79a8852f10d1fef8c848489c49eebb5754051bf870202a862831412b179d",
    "nvidia/cu13/include",
)
SIMULATED = SOURCE / "tests" / "simulated"
CHECK = ("c++", "-std=c++17", "-Wall", "-Wextra", "-Werror", "-fsyntax-only")
OURS = ("-I", SOURCE / "include", "-I", SOURCE / "src")


def _headers(wheel: tuple[str, str, str], folder: Path) -> Path:
    """The headers in a wheel, which pip fetches."""
    name, digest, inside = wheel
    listed = folder / "requirements.txt"
    listed.write_text(f"{name} --hash=sha256:{digest}", encoding="utf-8")
    run(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes",
        "--platform", "manylinux2014_x86_64", "--only-binary", ":all:",
        "--dest", folder, "-r", listed)  # fmt: skip
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        archive.extractall(folder)
    return folder / inside


@SLOW_MARK
def test_the_tensorrt_backend_compiles_with_nvidias_own_headers(tmp_path: Path) -> None:
    headers = _headers(TENSORRT, tmp_path)
    run(*CHECK, "-isystem", headers, "-isystem", SIMULATED / "cuda", *OURS,
        SOURCE / "src" / "backends" / "tensorrt.cpp")  # fmt: skip
    real = (headers / "NvInferRuntime.h").read_text("utf-8")
    real += (headers / "NvInferRuntimeBase.h").read_text("utf-8")
    invented = [name for name in _simulated(rtx=False) if not re.search(rf"\b{name}\b", real)]
    assert not invented


@SLOW_MARK
def test_the_drivers_functions_are_those_of_nvidias_own_header(tmp_path: Path) -> None:
    headers = _headers(CUDA, tmp_path)
    run(*CHECK, *OURS, "-isystem", headers, SOURCE / "tests" / "nvidia" / "cuda_driver.cpp")


def test_what_only_tensorrt_rtx_has_is_in_its_real_module() -> None:
    # No package contains its headers; its bindings have the same names in Python's spelling.
    if importlib.util.find_spec("tensorrt_rtx") is None:
        pytest.skip("tensorrt_rtx is not installed")
    module = importlib.import_module("tensorrt_rtx")
    known = set(dir(module))
    for kind in list(known):
        known.update(dir(getattr(module, kind)))
    assert "is_stream_capturable" in known
    missing = [name for name in _simulated(rtx=True) if not _spellings(name) & known]
    assert not missing


def test_the_functions_that_are_looked_up_are_in_the_real_library() -> None:
    found = importlib.util.find_spec("tensorrt_rtx_libs")
    if found is None or not found.submodule_search_locations:
        pytest.skip("tensorrt_rtx is not installed")
    path = next(Path(found.submodule_search_locations[0]).glob("libtensorrt_rtx.so.*"))
    real = ctypes.CDLL(str(path))
    source = (SOURCE / "src" / "backends" / "nvinfer.hpp").read_text("utf-8")
    names = set(re.findall(r'(?:symbol<\w+>|number)\("(\w+)"\)', source))
    assert len(names) == 4
    assert [name for name in names if not hasattr(real, name)] == []
    version = [getattr(real, f"getInferLib{part}Version")() for part in ("Major", "Minor")]
    # What our code calls the library's file is what it is called.
    code = (SOURCE / "src" / "system" / "shared_library.cpp").read_text("utf-8")
    assert '"libtensorrt_rtx.so.", major' in code
    assert path.name == f"libtensorrt_rtx.so.{version[0]}"


def _simulated(rtx: bool) -> list[str]:
    """Functions and enumerators in the simulated headers: of both libraries, or of RTX alone."""
    text = (SIMULATED / "declarations.h").read_text("utf-8")
    alone = re.compile(r"#ifdef TRT_MAJOR_RTX\n(.*?)#endif\n", re.DOTALL)
    chosen = "".join(alone.findall(text)) if rtx else alone.sub("", text)
    names = re.findall(r"\b(\w+)\([^()]*(?:\([^()]*\)[^()]*)*\)[\s\w]*noexcept = 0;", chosen)
    return sorted({*names, *re.findall(r"\bk[A-Z][A-Z0-9_]+\b", chosen)})


def _spellings(name: str) -> set[str]:
    """A C++ name as Python may spell it: `set_runtime_cache`, `cuda_graph_strategy`, `EAGER`."""
    if name.startswith("k") and name[1:].isupper():
        return {name[1:]}
    snake = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    return {snake, snake.removeprefix("set_"), snake.removeprefix("get_")}
