"""What `hcflow compile` and `hcflow profile` print of an engine's predicted floor."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from hcflow.cli import predictions
from hcflow.commands.profile import _show
from hcflow.measure.profile import Profile, Setting
from runtime.bundle.engines import cache
from runtime.bundle.reader import Bundle
from runtime.checks import latency
from runtime.inference import predicted
from tests.runtime.test_predicted import ENGINE
from tests.support.bundles import write_bundle

SETTING = Setting("tensorrt-rtx", "inverse", "fp32", 64, 64, 1)


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """A bundle whose inverse has an engine in the user's cache."""
    monkeypatch.setenv("HCFLOW_CACHE", str(tmp_path / "cache"))
    found = Bundle.open(write_bundle(tmp_path / "b", directions=["inverse"]))
    (graph,) = found.manifest.graphs
    name = f"{graph.sha256[:12]}.tensorrt-rtx-1.7.1.engine"
    made = replace(ENGINE, file=name, graph=graph.sha256, precision="fp32")
    cache.write(made, b"engine")
    return found


def printed(bundle: Bundle) -> str:
    out = Console(file=io.StringIO(), width=120)
    profiles = [Profile(SETTING, 1)]
    predictions.show(out, bundle.manifest, predictions.engines(bundle, profiles))
    text = out.file.getvalue()  # type: ignore[attr-defined]
    return str(text)


def test_every_card_is_listed_and_called_predicted(bundle: Bundle) -> None:
    text = printed(bundle)
    assert "predicted floor" in text
    assert "Predicted, not measured" in text
    for card in predicted.CARDS:
        assert card in text


def test_nothing_is_printed_of_engines_whose_kernels_are_unknown(bundle: Bundle) -> None:
    (graph,) = bundle.manifest.graphs
    out = Console(file=io.StringIO())
    unknown = replace(ENGINE, graph=graph.sha256, program=None)
    predictions.show(out, bundle.manifest, [unknown, ENGINE])  # the second of no graph here
    assert not out.file.getvalue()  # type: ignore[attr-defined]
    assert predictions.plain(bundle.manifest, unknown) is None


def test_json_has_seconds_by_card_and_size(bundle: Bundle) -> None:
    (engine,) = predictions.engines(bundle, [Profile(SETTING, 1)])
    found = predictions.plain(bundle.manifest, engine)
    assert found is not None
    small, large = found["L4"]["1080p"], found["L4"]["8K"]
    assert small is not None
    assert large is not None
    assert 0 < small < large


def test_a_measured_run_is_shown_beside_its_prediction(
    bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    measured = latency.summary([0.004])
    _show([Profile(SETTING, 1, latency=measured, predicted=0.002)], ["a GPU"], bundle)
    text = " ".join(capsys.readouterr().out.split())
    assert "measured ÷ predicted by its kernels (2.00 ms): 2.00" in text
