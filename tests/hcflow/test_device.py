"""`--device` and `device=`: every command that runs a model takes it, and it is obeyed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import hcflow
import runtime
from hcflow.cli.program import application
from hcflow.measure import profile as measure
from hcflow.models import engines
from runtime import backends
from runtime.backends.onnxruntime import OnnxRuntimeSession
from runtime.bundle.manifest import Numerics
from runtime.bundle.reader import Bundle
from runtime.errors import BackendError, GpuMemoryError, ParameterError
from tests.support.bundles import inverse_graph, write_bundle

COMMANDS = (
    *("upscale", "downscale", "compare", "demo", "evaluate", "verify", "selftest", "profile"),
    *("compile", "build", "serve"),
)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_that_runs_a_model_takes_the_number_of_a_gpu(name: str) -> None:
    command = typer.main.get_command(application())
    found = command.get_command(None, name)  # type: ignore[attr-defined]
    assert "--device" in {option for parameter in found.params for option in parameter.opts}


def test_the_number_reaches_whatever_opens_a_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, asked = write_bundle(tmp_path / "b"), list[Any]()

    def opened(*given: Any) -> None:
        asked.append(given[-1])
        raise BackendError("no GPU here")

    monkeypatch.setattr("runtime.backends.tensorrt.open_rtx", opened)
    monkeypatch.setattr("runtime.backends.onnxruntime.open_cuda", opened)
    for backend, device in (("tensorrt-rtx", 2), ("onnxruntime-cuda", 1), ("tensorrt-rtx", None)):
        model = hcflow.load(bundle, backend=backend, device=device)
        with pytest.raises(BackendError):
            model.decode(_lr())
    assert asked == [2, 1, 0]
    given = measure.settings(
        ["onnxruntime", "tensorrt-rtx"], Bundle.open(bundle), ("inverse",), None, [(8, 8)], [1], 3
    )
    assert [setting.device for setting in given] == [None, 3]


def _lr() -> Any:
    return np.zeros((1, 3, 4, 4), np.float32)


@pytest.mark.parametrize("command", ["verify", "profile"])
def test_the_number_of_a_gpu_is_refused_for_a_processor(command: str, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b")
    options = [command, str(bundle), "--backend", "onnxruntime", "--device", "0"]
    found = CliRunner().invoke(application(), options)
    assert found.exit_code != 0
    assert "computes on processors" in f"{found.output} {found.exception}"


def test_engines_are_compiled_for_that_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(engines, "gpu_missing", lambda ordinal: asked.append(ordinal) or "none")
    hcflow.load(write_bundle(tmp_path / "b"), compile_engines=True, device=5)
    assert asked == [5]


def test_memory_that_is_short_on_a_gpu_is_an_error_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = OnnxRuntimeSession(inverse_graph(True), ["CPUExecutionProvider"], 1)

    class Full:
        def run(self, *_: Any) -> None:
            raise RuntimeError("BFCArena: Failed to allocate memory for requested buffer of size 9")

    monkeypatch.setattr(session, "_session", Full())
    with pytest.raises(BackendError, match="Failed to allocate") as plain:
        session.run({})
    assert not isinstance(plain.value, GpuMemoryError)
    session.providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    with pytest.raises(GpuMemoryError, match="out of GPU memory"):
        session.run({})


def test_onnx_runtime_says_that_it_takes_no_gpu_arrays() -> None:
    numerics = Numerics(False, "float32", "f32")
    session = backends.open_session("onnxruntime", inverse_graph(True), numerics, 1)
    array = type("Array", (), {"__cuda_array_interface__": {"version": 3}, "shape": (1, 3, 4, 4)})
    with pytest.raises(ParameterError, match="'lr' is on a GPU: ONNX Runtime takes host arrays"):
        session.run({"lr": array()})


def test_the_exact_way_to_compute_takes_no_gpu(tmp_path: Path) -> None:
    options = ["upscale", "nothing.png", "--exact", "--device", "0"]
    found = CliRunner().invoke(application(), options)
    assert found.exit_code == 2
    assert "--device is decided by --exact" in " ".join(found.output.split()).replace("│", "")


def test_the_public_names_have_the_error(tmp_path: Path) -> None:
    assert issubclass(runtime.GpuMemoryError, runtime.BackendError)
