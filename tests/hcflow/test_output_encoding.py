"""What commands print reaches standard output whole, in any encoding and with any path."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import hcflow
from hcflow.cli import engine_progress, predictions, program, tables
from hcflow.cli.engine_options import EngineArguments
from hcflow.commands import demo, profile, selftest
from hcflow.commands.compile import compile_engines
from runtime.bundle.reader import Bundle
from tests.support.bundles import write_bundle

LONG = "a path longer than a terminal is wide, " * 3
NAMES = {"raw\udcff": "raw\\udcff", "\x1b[2J": "\\x1b[2J", ":cat:": ":cat:", LONG: LONG}
"""Paths, and how they are shown."""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[object, str]]:
    """Runs `hcflow` with standard output in an encoding that is strict; its code and output."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # pytest keeps its own handlers

    def run(encoding: str, *words: object) -> tuple[object, str]:
        raw = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding))
        monkeypatch.setattr(sys, "argv", ["hcflow", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            program.main()
        sys.stdout.flush()
        return end.value.code or 0, raw.getvalue().decode(encoding)

    return run


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
@pytest.mark.parametrize("words", [("upscale", "--help"), ("models",)])
def test_characters_that_the_output_has_not_are_escaped(
    run: Any, encoding: str, words: tuple[str, ...]
) -> None:
    code, out = run(encoding, *words)
    assert code == 0
    assert ("τ" if encoding == "utf-8" else "\\u03c4") in out


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_json_stays_json_in_every_encoding(run: Any, encoding: str, tmp_path: Path) -> None:
    file = write_bundle(tmp_path / "b") / "manifest.json"
    name = "modèle_τ"
    file.write_text(file.read_text("utf-8").replace("tiny_x4", name), "utf-8")
    code, out = run(encoding, "info", tmp_path / "b", "--json")
    assert code == 0
    assert json.loads(out)["name"] == name


def test_a_self_test_may_report_names_that_are_no_utf8(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = selftest.Result("raw\udcff", "failed", "'raw\udcff' is damaged")
    monkeypatch.setattr(selftest, "run_checks", lambda *_: [failed])
    report = tmp_path / "report.json"
    words = ("selftest", write_bundle(tmp_path / "b"), "--report", report, "--no-compile")
    for more in ((), ("--json",)):
        code, _ = run("utf-8", *words, *more)
        assert code == 1
        assert json.loads(report.read_text("utf-8"))["results"][0]["name"] == "raw\udcff"


@pytest.mark.parametrize(("name", "as_shown"), NAMES.items())
def test_every_path_is_on_one_line_that_a_terminal_does_not_obey(
    name: str,
    as_shown: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    bundle = write_bundle(tmp_path / "b")
    path, shown = tmp_path / name, os.path.join(tmp_path, as_shown)
    tables.print_build(path, Bundle.open(bundle).manifest, (), (), (), False)
    demo._show([], hcflow.load(bundle), path)
    monkeypatch.setattr(selftest, "run_checks", lambda *_: [])
    with pytest.raises(selftest.typer.Exit):
        selftest.selftest(bundle=bundle, report=path, build=False)
    profile.profile(
        bundle=bundle, backend=["onnxruntime"], size=["4x4"], seconds=0.01, threads=1, html=path
    )
    resolved = SimpleNamespace(library="tensorrt", device=0)
    monkeypatch.setattr(EngineArguments, "resolve", lambda *_: resolved)
    made = SimpleNamespace(path=path, engine=None)
    monkeypatch.setattr(engine_progress, "run", lambda *_, **__: [made])
    monkeypatch.setattr(engine_progress, "table", lambda _: "")
    monkeypatch.setattr(engine_progress, "print_programs", lambda *_: None)
    monkeypatch.setattr(predictions, "show", lambda *_: None)
    compile_engines(bundle=bundle, **vars(EngineArguments()))
    lines = capsysbinary.readouterr().out.decode().splitlines()
    side_by_side, page = (os.path.join(shown, each) for each in ("side-by-side.png", demo.PAGE))
    for line in (
        f"bundle: {shown}",
        f"pictures: {shown}, side by side: {side_by_side}",
        f"to compare them, open {page} in a browser",
        f"report: {shown}",
        f"page: {shown}",
        shown,
    ):
        assert line in lines, line
