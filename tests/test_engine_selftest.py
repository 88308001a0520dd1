"""`hcflow selftest` runs what it can, lists what it could not, and says so in its exit code."""

from __future__ import annotations

import json
from pathlib import Path

import typer
from typer.testing import CliRunner

from hcflow.commands.selftest import INCOMPLETE, selftest
from runtime import device
from runtime import selftest as checks
from tests.bundles import write_bundle


def run(*arguments: str | Path) -> tuple[int, str]:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(selftest)
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    return result.exit_code, result.stdout


def test_without_a_gpu_everything_else_is_tried_and_the_rest_is_listed(tmp_path: Path) -> None:
    if device.gpu_missing() is None:
        return  # this machine has one: the command itself is the test
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


def test_what_does_not_hold_fails_with_its_figures(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    bundle = write_bundle(tmp_path / "b", gain=1.01)
    code, _ = run(bundle, "--report", report, "--threads", "1", "--json")
    assert code == 1
    results = json.loads(report.read_text(encoding="utf-8"))["results"]
    failed = [r for r in results if r["outcome"] == "failed"]
    assert any("miss their budget" in r["detail"] for r in failed)
