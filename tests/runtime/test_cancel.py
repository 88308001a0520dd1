"""A caller's `cancel` ends a running call within one tile and leaves nothing behind."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import hcflow
from runtime import Cancelled, Model, ParameterError
from runtime.inference.network import Network
from tests.support.bundles import write_bundle
from tests.support.noise import noise

_AT_ONCE = {"tile": 5, "overlap": 0}


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every run of a graph, as it begins."""
    begun: list[str] = []
    run = Network.run

    def counted(self: Network, graph: Any, feeds: Any) -> Any:
        begun.append(graph.direction)
        return run(self, graph, feeds)

    monkeypatch.setattr(Network, "run", counted)
    return begun


def _after(runs: list[str], count: int) -> Callable[[], bool]:
    return lambda: len(runs) >= count


CALLS: dict[str, Callable[[Model, Any], Any]] = {
    "upscale": lambda m, c: m.upscale(noise(40, 40), cancel=c, **_AT_ONCE),
    "many samples": lambda m, c: m.upscale(noise(4, 4), tau=0.5, samples=64, cancel=c),
    "a list": lambda m, c: m.upscale([noise(4, 4)] * 64, cancel=c),
    "a batch": lambda m, c: m.upscale(np.stack([noise(4, 4)] * 64), cancel=c),
    "downscale": lambda m, c: m.downscale(noise(160, 160), cancel=c, **_AT_ONCE),
    "uncertainty": lambda m, c: m.uncertainty(noise(4, 4), tau=0.5, samples=64, cancel=c),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_a_call_ends_within_the_tiles_that_were_running(
    tiny_model: Model, runs: list[str], call: Callable[[Model, Any], Any]
) -> None:
    threads = threading.active_count()
    with pytest.raises(Cancelled, match="cancelled by the caller"):
        call(tiny_model, _after(runs, 3))
    # One tile a processor may have begun before the third was counted.
    assert 3 <= len(runs) < 64 // 2
    assert threading.active_count() == threads


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_an_event_set_before_the_call_ends_it_before_any_tile(
    tiny_model: Model, runs: list[str], call: Callable[[Model, Any], Any]
) -> None:
    event = threading.Event()
    event.set()
    with pytest.raises(Cancelled):
        call(tiny_model, event)
    assert runs == []


def test_a_cancel_that_never_comes_changes_nothing(tiny_model: Model) -> None:
    image = noise(12, 9)
    expected = tiny_model.upscale(image)
    np.testing.assert_array_equal(tiny_model.upscale(image, cancel=threading.Event()), expected)
    np.testing.assert_array_equal(tiny_model.upscale(image, cancel=lambda: False), expected)


@pytest.mark.parametrize("wrong", [1, "yes", threading.Event, object()])
def test_a_cancel_that_cannot_be_asked_is_refused(tiny_model: Model, wrong: Any) -> None:
    for call in CALLS.values():
        with pytest.raises(ParameterError, match="cancel is a"):
            call(tiny_model, wrong)


@pytest.mark.parametrize("strips", [False, True])
@pytest.mark.parametrize("convert", [hcflow.upscale_file, hcflow.downscale_file])
def test_a_cancelled_file_leaves_nothing(
    tmp_path: Path, runs: list[str], convert: Callable[..., Any], strips: bool
) -> None:
    if strips:
        pytest.importorskip("pyvips")
    bundle = write_bundle(tmp_path / "bundle", tile=5, overlap=0)
    source, output = tmp_path / "photo.png", tmp_path / "out" / "result.png"
    output.parent.mkdir()
    Image.fromarray(noise(160, 160)).save(source)
    # Enough for some rows of tiles to be in the journal.
    with pytest.raises(Cancelled):
        convert(source, output, model=bundle, strips=strips, cancel=_after(runs, 30))
    assert list(output.parent.iterdir()) == []
    convert(source, output, model=bundle, strips=strips, cancel=lambda: False)
    assert [path.name for path in output.parent.iterdir()] == ["result.png"]
