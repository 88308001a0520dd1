"""Which compiler runs here, and what is said where none does."""

from __future__ import annotations

from pathlib import Path

import pytest

from export.engine import compilers
from export.engine.compile import compile_graph
from export.engine.options import EngineOptions
from export.errors import ExportError
from hcflow.cli.engine_options import EngineArguments
from runtime.errors import BackendError, FileError
from tests.support.engine_graphs import onnx_bytes, ranges


def test_tensorrt_without_a_gpu_names_the_compiler_that_needs_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("runtime.backends.tensorrt_engine.load_library", lambda library: None)
    data = onnx_bytes("rescale_x4", "inverse", "fp32")
    with pytest.raises(ExportError, match=r"needs a GPU.*--engine tensorrt-rtx"):
        compile_graph(data, (ranges(data),), "fp32", EngineOptions("tensorrt"))


def test_what_cannot_be_compiled_here_is_refused_before_any_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    known = type("ComputeCapability", (), {"SM80": 80, "SM89": 89, "SM120": 120})
    library = type("Module", (), {"__version__": "1.7", "ComputeCapability": known})
    monkeypatch.setattr("runtime.backends.tensorrt_engine.load_library", lambda _: library)
    compilers.check(EngineOptions("tensorrt-rtx", compute_capabilities=("8.9", "12.0")))
    with pytest.raises(
        ExportError, match=r"8\.8: TensorRT-RTX 1\.7 compiles for 8\.0, 8\.9, 12\.0"
    ):
        compilers.check(EngineOptions("tensorrt-rtx", compute_capabilities=("8.0", "8.8")))
    with pytest.raises(ExportError, match="needs a GPU"):
        compilers.check(EngineOptions("tensorrt-rtx", refittable=True))
    monkeypatch.setattr("runtime.backends.cuda.device.gpu_missing", lambda _: None)
    missing = tmp_path / "nowhere" / "timings"
    with pytest.raises(FileError, match="does not exist"):
        compilers.check(EngineOptions("tensorrt", timing_cache=missing))


def test_a_library_that_is_not_there_says_what_to_install() -> None:
    with pytest.raises(BackendError, match=r"tensorrt cannot be imported .*: pip install"):
        compilers.check(EngineOptions("tensorrt"))


def test_auto_takes_the_compiler_that_works_here() -> None:
    pytest.importorskip("tensorrt_rtx")
    gathered = EngineArguments().resolve("auto")
    assert gathered.library == "tensorrt-rtx"
