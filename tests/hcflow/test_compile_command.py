"""`hcflow compile`: an option that would have no effect is refused."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from hcflow.cli.engine_options import EngineArguments
from hcflow.cli.program import application
from tests.support.bundles import write_bundle

WITHOUT_EFFECT = {
    "--min": ["8x8"],
    "--opt": ["8x8"],
    "--max": ["8x8"],
    "--batch": ["2"],
    "--compute-capability": ["8.9"],
    "--workspace": ["1G"],
    "--optimization-level": ["3"],
    "--tf32": [],
    "--timing-cache": ["file"],
    "--version-compatible": [],
    "--hardware-compatible": ["ampere+"],
    "--strict": [],
    "--form": ["nested"],
    "--again": [],
    "--commands": [],
}
"""Options that a refit cannot obey, with a value that is not the default."""

OBEYED = ("--device", "--refit")


@pytest.mark.parametrize("option", WITHOUT_EFFECT)
def test_a_refit_refuses_what_shapes_a_compilation(option: str, tmp_path: Path) -> None:
    bundle = str(write_bundle(tmp_path / "b"))
    words = ["compile", bundle, "--refit-from", bundle, option, *WITHOUT_EFFECT[option]]
    found = CliRunner().invoke(application(), words)
    assert found.exit_code == 1
    assert f"{option} cannot be used with --refit-from" in found.output


def test_every_option_of_engines_is_refused_or_obeyed_in_a_refit() -> None:
    assert len(fields(EngineArguments)) == len([*WITHOUT_EFFECT, *OBEYED]) - 2  # of the command


def test_a_refit_takes_a_gpu_and_stays_refittable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = str(write_bundle(tmp_path / "b"))
    resolved = SimpleNamespace(library="tensorrt", device=3)
    monkeypatch.setattr(EngineArguments, "resolve", lambda *_: resolved)
    asked = []

    def refit(*_: object, device: int, **__: object) -> list[object]:
        asked.append(device)
        return []

    monkeypatch.setattr("export.engine.refit.refit_bundle", refit)
    words = ["compile", bundle, "--refit-from", bundle, "--device", "3", "--refit", "--json"]
    assert CliRunner().invoke(application(), words).exit_code == 0
    assert asked == [3]
