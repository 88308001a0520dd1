"""`hcflow selftest` runs what it can, lists what it could not, and says so in its exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

import runtime
from export.engine import bundle_engines
from export.engine.options import EngineOptions
from export.errors import ExportError
from hcflow.commands.selftest import INCOMPLETE, compile_all, selftest
from runtime import backends
from runtime.backends.cuda import device as cuda_device
from runtime.backends.tensorrt_engine import load_library
from runtime.bundle.reader import Bundle
from runtime.checks import selftest as checks
from runtime.errors import BackendError
from tests.support.bundles import write_bundle


def run(*arguments: str | Path) -> tuple[int, str]:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(selftest)
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    return result.exit_code, result.stdout


def test_without_a_gpu_everything_else_is_tried_and_the_rest_is_listed(tmp_path: Path) -> None:
    if cuda_device.gpu_missing() is None:
        pytest.skip("this machine has a GPU")
    report = tmp_path / "report.json"
    code, output = run(write_bundle(tmp_path / "b"), "--report", report, "--threads", "1")
    assert code == INCOMPLETE
    found = {r["name"]: r for r in json.loads(report.read_text(encoding="utf-8"))["results"]}
    assert found["backend onnxruntime"]["outcome"] == "ok"
    assert found["the same bytes run by run"]["outcome"] == "ok"
    for name in (*checks.GPU_CHECKS, "backend tensorrt-rtx"):
        assert found[name]["outcome"] == "not tried"
        assert found[name]["detail"]
    assert "not tried" in output


def test_on_a_gpu_every_precision_and_direction_is_compiled_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def compile_bundle(_: Bundle, options: EngineOptions, **which: Any) -> list[Any]:
        asked.append((options.library, which["directions"], which["precisions"]))
        if which["directions"] == ("forward",):
            raise ExportError("no room")
        return []

    monkeypatch.setattr(bundle_engines, "compile_bundle", compile_bundle)
    monkeypatch.setattr(backends, "available", lambda: ["onnxruntime", "tensorrt-rtx"])
    found = compile_all(Bundle.open(write_bundle(tmp_path / "b")))
    assert asked == [("tensorrt-rtx", (d,), ("fp32",)) for d in ("inverse", "forward")]
    assert [r.outcome for r in found] == ["ok", "failed"]
    assert found[1].detail == "no room"


@pytest.mark.parametrize("library", ["tensorrt", "tensorrt-rtx"])
def test_no_driver_or_no_library_is_one_line_with_the_way_out(tmp_path: Path, library: str) -> None:
    if cuda_device.gpu_missing() is None:
        pytest.skip("this machine has a GPU")
    model = runtime.load(write_bundle(tmp_path / "b"), backend=library)
    with pytest.raises(BackendError) as error:
        model.upscale(Image.new("RGB", (4, 4)))
    assert "there is no NVIDIA driver on this machine: install one, or use another backend" in str(
        error.value
    ) or "pip install" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_library_that_is_not_there_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(BackendError, match=r"pip install 'hcflow-deploy\[tensorrt\]'"):
        load_library("tensorrt-rtx")


def test_three_runs_that_differ_fail_the_check_in_optimised_python_too(tmp_path: Path) -> None:
    """`python -O` leaves out every `assert`."""
    code = (
        "import itertools, sys\n"
        "from runtime import Bundle, Network, backends\n"
        "from runtime.checks.selftest import selftest\n"
        "decode, count = Network.decode, itertools.count()\n"
        "Network.decode = lambda *given: decode(*given) + next(count)\n"
        "backends.available = lambda: []\n"
        "found = {r.name: r for r in selftest(Bundle.open(sys.argv[1]), 1)}\n"
        "print(found['the same bytes run by run'])\n"
    )
    run = subprocess.run(
        [sys.executable, "-O", "-c", code, write_bundle(tmp_path / "b")],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "'failed'" in run.stdout
    assert "three runs of one input differ" in run.stdout


def test_what_does_not_hold_fails_with_its_figures(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    bundle = write_bundle(tmp_path / "b", gain=1.01)
    code, _ = run(bundle, "--report", report, "--threads", "1", "--json")
    assert code == 1
    results = json.loads(report.read_text(encoding="utf-8"))["results"]
    failed = [r for r in results if r["outcome"] == "failed"]
    assert any("miss their budget" in r["detail"] for r in failed)
