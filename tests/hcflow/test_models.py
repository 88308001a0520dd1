"""A name means a shipped model, a folder means itself, and neither hides the other."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import pytest
from PIL import Image

from hcflow.cli import program
from hcflow.models import shipped as models
from hcflow_ref.checkpoint.shipped import DEFAULT
from tests.support.bundles import write_bundle


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with an empty cache elsewhere, into which small graphs are built."""
    monkeypatch.setenv("HCFLOW_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(models, "_build", lambda weights, folder: write_bundle(folder))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def test_a_folder_of_images_does_not_hide_the_model_it_is_called_as(here: Path) -> None:
    shipped = models.of_shipped(DEFAULT)
    (here / DEFAULT).mkdir()
    assert models.resolve(DEFAULT) == shipped
    assert models.resolve(f"./{DEFAULT}") == Path(DEFAULT)
    write_bundle(here / DEFAULT)
    assert models.resolve(DEFAULT) == Path(DEFAULT)
    assert models.of_shipped(DEFAULT) == shipped


def test_results_may_go_into_a_folder_called_as_the_model(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "in").mkdir()
    Image.new("RGB", (9, 7)).save(here / "in" / "a.png")
    words = ["downscale", "in", "-o", DEFAULT, "--model", DEFAULT, "--json"]
    monkeypatch.setattr(sys, "argv", ["hcflow", *words])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit):
        program.main()
    assert json.loads(capsys.readouterr().out)["done"] == 1
    assert (here / DEFAULT / "a.png").is_file()
