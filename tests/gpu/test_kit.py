"""The checks for a GPU, where there is none: they outlive each other, end in time, and are told."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hcflow_ref.checkpoint.load import load
from setup import pack_for_gpu
from tests.gpu import __main__ as program
from tests.gpu import networks, page, training
from tests.gpu.checks import CHECKS, MACHINE, Check, missing
from tests.gpu.processes import ROOT, run, run_all
from tests.gpu.record import Record, Report, WrongError, records
from tests.support.training_runs import small_run

ODD = "tests.support.gpu_checks"
CPU = torch.device("cpu")


def odd(name: str, seconds: float = 60.0) -> Check:
    return Check(name, f"{ODD}:{name}", (), seconds)


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").split()[2] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_a_check_that_dies_keeps_what_it_found_and_loses_no_other(tmp_path: Path) -> None:
    names = ("holds", "crashes", "raises", "lacks", "fails")
    found = list(run_all([odd(name) for name in names], 300))
    told = {name: [(r.outcome, r.name) for r in found if r.check == name] for name in names}
    assert told == {
        "holds": [("ok", "it holds"), ("ok", "it says why")],
        "crashes": [("ok", "it holds so far"), ("failed", "the whole check")],
        "raises": [("failed", "the whole check")],
        "lacks": [("skipped", "it needs TensorRT")],
        "fails": [("failed", "it divides"), ("ok", "it goes on")],
    }
    details = {r.check: r.detail for r in found if r.outcome == "failed"}
    assert details["crashes"] == "the process died of SIGSEGV. about to die"
    assert "outside of every attempt" in details["raises"]
    assert details["fails"] == "ZeroDivisionError: division by zero"


def test_a_check_that_does_not_end_is_ended_with_its_children(tmp_path: Path) -> None:
    found: list[Record] = []
    seconds = 2.0
    while len(found) < 3:  # a slow machine has not come to its child by then
        found = list(run(odd("hangs"), seconds, tmp_path))
        seconds *= 2
    assert [r.outcome for r in found] == ["ok", "ok", "failed"]
    assert "it was ended after" in found[-1].detail
    child = int(found[1].detail)
    while is_running(child):
        time.sleep(0.01)


def test_together_the_checks_take_no_longer_than_they_are_given() -> None:
    now = iter([0.0, 299.0, 299.5])
    found = list(run_all([odd("holds"), odd("fails")], 300, clock=lambda: next(now)))
    assert [(r.outcome, r.detail) for r in found] == [("skipped", "no time was left for it")] * 2


def test_what_a_machine_lacks_is_skipped_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = replace(odd("holds"), needs=("torch", "tensorrt_rtx"))
    monkeypatch.setattr("tests.gpu.checks.installed", lambda module: module == "torch")
    assert missing(absent) == "TensorRT-RTX is not installed here"
    (record,) = run_all([absent], 300)
    assert (record.outcome, record.detail) == ("skipped", "TensorRT-RTX is not installed here")


def test_every_check_names_a_function_and_libraries_that_are_known() -> None:
    for check in (MACHINE, *CHECKS):
        module, function = check.target.split(":")
        source = (ROOT / (module.replace(".", "/") + ".py")).read_text(encoding="utf-8")
        assert f"def {function}(report: Report" in source
        assert missing(check) is None or "is not installed here" in str(missing(check))
    assert len({check.name for check in CHECKS}) == len(CHECKS)


def test_without_a_gpu_every_check_is_skipped_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(program, "MACHINE", odd("lacks"))
    monkeypatch.setattr("tests.gpu.checks.installed", lambda module: True)
    assert program.main(["--output", str(tmp_path), "--only", "driver", "networks"]) == 0
    told = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))["records"]
    assert [(r["check"], r["outcome"], r["detail"]) for r in told] == [
        (check, "skipped", "TensorRT is not installed here")
        for check in ("lacks", "driver", "networks")
    ]
    assert (tmp_path / "gpu.html").exists()
    assert "0 ok, 0 failed, 3 skipped" in capsys.readouterr().out


def test_a_failed_check_is_the_exit_code_and_an_unknown_one_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program.report(tmp_path, [Record("driver", "it copies", "failed", "no")]) == 1
    with pytest.raises(SystemExit):
        program.main(["--only", "drivers"])
    assert "no check 'drivers'; there are: driver, latents" in capsys.readouterr().err


def test_the_page_holds_every_record_and_needs_nothing_else() -> None:
    found = [
        Record("machine", "a GPU answers", "ok", "", {"GPU": "H<200>"}),
        Record("networks", "fp16 & τ = 1", "ok", "", {"ms": 1.23456, "dB": 61.0, "once": 3}),
        Record("networks", "bf16", "failed", "<script>alert(1)</script>", {"ms": 2.0, "dB": None}),
        Record("engines", "TensorRT", "skipped", "TensorRT is not installed here"),
    ]
    made = page.page("2026-01-01 00:00 UTC", found)
    for text in (
        "2 ok, 1 failed, 1 skipped",
        "H&lt;200&gt;",
        "fp16 &amp; τ = 1",
        "1.235",
        "once 3",
    ):
        assert text in made
    assert "<script>" not in made
    assert not re.search(r"\b(?:src|href)=|url\(|https?:", made)
    assert made.count("bf16") == 2  # among the failures, and in its check's table
    assert "TensorRT is not installed here" in made


def test_records_that_were_cut_off_are_left_out(tmp_path: Path) -> None:
    report = Report("a", tmp_path / "records")
    report.attempt("whole", lambda: {"ms": 1})
    with report.file.open("a", encoding="utf-8") as file:
        file.write('{"check": "a", "na')
    assert [r.name for r in records(report.file)] == ["whole"]
    assert records(tmp_path / "none") == []


def test_networks_are_judged_and_timed_as_on_a_gpu(tmp_path: Path) -> None:
    network = load("tests/golden/rescale_x4_small.safetensors").network
    report = Report("networks", tmp_path / "records")
    networks.check_exactness(report, "small", network, CPU, side=16, dtypes=("float32", "bfloat16"))
    found = records(report.file)
    assert [r.outcome for r in found] == ["ok"] * 6, found
    exact, rounded = (
        min(r.figures["dB"] for r in found if dtype in r.name) for dtype in ("float32", "bfloat16")
    )
    assert exact > 100 > rounded > 30
    times = Report("times", tmp_path / "times")
    networks.check_times(times, "small", network, CPU, (4, 4), 0.0, ("float32",))
    assert [r.outcome for r in records(times.file)] == ["ok"] * 3, records(times.file)
    assert all(r.figures["ms"] > 0 for r in records(times.file))


def test_a_network_that_is_wrong_is_told_in_db(tmp_path: Path, monkeypatch) -> None:
    network = load("tests/golden/rescale_x4_small.safetensors").network
    right = networks.lowered

    def wrong(*given):
        module = right(*given)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.mul_(1.5)
        return module

    monkeypatch.setattr(networks, "lowered", wrong)
    report = Report("networks", tmp_path / "records")
    networks.check_exactness(report, "small", network, CPU, side=16, dtypes=("float32",))
    assert {r.outcome for r in records(report.file)} == {"failed"}
    assert all(
        "are the least" in r.detail or "not finite" in r.detail for r in records(report.file)
    )


def test_a_compiled_network_is_timed_and_compared_with_the_eager_one(monkeypatch) -> None:
    network = load("tests/golden/rescale_x4_small.safetensors").network
    inputs = networks.frame(network, (4, 4), CPU)
    monkeypatch.setattr(networks, "SECONDS", 0.0)
    monkeypatch.setattr(torch, "compile", lambda module, mode: module)
    figures = networks.compiled(network, inputs, CPU, "default")
    assert figures["dB to eager"] > 100
    assert figures["ms"] > 0
    monkeypatch.setattr(torch, "compile", lambda module, mode: lambda lr, z: 2 * module(lr, z))
    with pytest.raises(WrongError, match="dB to the eager module"):
        networks.compiled(network, inputs, CPU, "default")


def test_training_is_timed_by_batch_until_one_does_not_fit(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(training, "STEPS", 1)
    real = training.take_step

    def take_step(state, losses, hr, *rest):
        if len(hr) > 2:
            raise RuntimeError("CUDA out of memory. Tried to allocate 90 GiB")
        return real(state, losses, hr, *rest)

    monkeypatch.setattr(training, "take_step", take_step)
    report = Report("training", tmp_path / "records")
    training.speeds(report, "small", small_run(data={"patch": 16}), (2, 4, 8))
    assert [(r.outcome, r.detail) for r in records(report.file)] == [
        ("ok", ""),
        ("skipped", "it does not fit into memory"),
    ]
    assert records(report.file)[0].figures["patches/s"] > 0


def test_what_a_borrowed_machine_needs_is_packed_and_runs_there(tmp_path: Path) -> None:
    kit, shards = tmp_path / "kit", tmp_path / "shards"
    shards.mkdir()
    (shards / "crops-000.npy.xz").write_bytes(b"x" * 1000)
    size = pack_for_gpu.pack(kit, [], [], shards, 4_000_000)
    assert size == sum(path.stat().st_size for path in kit.rglob("*") if path.is_file())
    with pytest.raises(ValueError, match="are more than 1 MB: leave out --models"):
        pack_for_gpu.pack(tmp_path / "other", ["rescale_x4"], ["sr_x4"], None, 1_000_000)
    assert not (tmp_path / "other").exists()
    modules = "tests.gpu.networks, tests.gpu.bundles, tests.gpu.training, tests.gpu.arrays"
    code = f"import {modules}, hcflow_ref.training.timed_run as t; print(t.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=kit,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith(str(kit)), done.stderr
    assert (kit / "shards" / "crops-000.npy.xz").exists()


WITHOUT = """
import runpy, sys
for name in ("torch", "cupy", "onnx", "onnxruntime", "tensorrt", "PIL", "typer", "rich", "cuda"):
    sys.modules[name] = None
sys.argv = ["tests.gpu", *sys.argv[1:]]
runpy.run_module("tests.gpu", run_name="__main__")
"""


def test_the_script_itself_needs_python_alone(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, "--output", tmp_path, "--only", "selftest"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "selftest: the whole check" in done.stdout
