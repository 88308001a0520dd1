"""The border is the smallest at which plain colours come out at the edge as inside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export import border
from export.artifact import Artifact
from runtime import Bundle
from runtime.bundle.manifest import Graph, Level
from tests.support.bundles import write_bundle


class Darkening:
    """A network whose output falls by `loss` within `reach` LR pixels of the edge."""

    def __init__(self, reach: int, loss: float, inside: float = 0.0) -> None:
        self.reach, self.loss, self.inside = reach, loss, inside

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        name = "lr" if "lr" in feeds else "hr"
        side = feeds[name].shape[2] // (1 if name == "lr" else 4)
        place = np.arange(side)
        distance = np.minimum(place, place[::-1])
        near = np.minimum.outer(distance, distance) < self.reach
        fall = np.where(near, self.loss, self.inside).astype(np.float32)
        small = feeds[name] if name == "lr" else feeds[name][:, :, ::4, ::4]
        found = small - fall
        return {"lr": found} if name == "hr" else {"hr": found.repeat(4, 2).repeat(4, 3)}


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Graph]:
    folder = write_bundle(tmp_path_factory.mktemp("tiny"))
    return {graph.direction: graph for graph in Bundle.open(folder).manifest.graphs}


def chosen(
    monkeypatch: pytest.MonkeyPatch, graph: Graph, *networks: Darkening
) -> tuple[list[Graph], list[str]]:
    sessions, lines = iter(networks), []
    monkeypatch.setattr(border, "open_session", lambda *_: next(sessions))
    built = [Artifact(b"", replace(graph, precision=p)) for p in ("fp32", "fp16", "int8")]
    levels = (Level(6, 2), Level(21, 1))
    made = border.choose(built[: len(networks)], levels, 4, lines.append)
    return [each.entry for each in made], lines


@pytest.mark.parametrize("direction", ["inverse", "forward"])
@pytest.mark.parametrize(
    ("reach", "expected"), [(0, 0), (1, 2), (2, 2), (3, 4), (8, 8), (9, 12), (12, 12)]
)
def test_the_smallest_border_beyond_which_the_edge_does_not_reach_is_taken(
    monkeypatch: pytest.MonkeyPatch,
    graphs: dict[str, Graph],
    direction: str,
    reach: int,
    expected: int,
) -> None:
    (made,), lines = chosen(monkeypatch, graphs[direction], Darkening(reach, 0.1, 0.01))
    assert made.border == expected
    assert not lines
    yellow = next(row for row in made.drifts if row.case == "110")
    bare = 0.1 if reach else 0.01
    found = yellow.bare, yellow.edge, yellow.inside
    assert found == pytest.approx((bare, 0.01, 0.01), abs=1e-6)


def test_an_edge_that_is_off_by_less_than_is_seen_needs_no_border(
    monkeypatch: pytest.MonkeyPatch, graphs: dict[str, Graph]
) -> None:
    for loss, expected in ((0.9 / 4 / 255, 0), (1.1 / 4 / 255, 4)):
        (made,), _ = chosen(monkeypatch, graphs["forward"], Darkening(3, loss))
        assert made.border == expected


def test_a_lower_precision_has_the_border_of_fp32_or_a_larger_one(
    monkeypatch: pytest.MonkeyPatch, graphs: dict[str, Graph]
) -> None:
    networks = Darkening(4, 0.1), Darkening(2, 0.1), Darkening(6, 0.1)
    made, _ = chosen(monkeypatch, graphs["inverse"], *networks)
    assert [graph.border for graph in made] == [4, 4, 6]


def test_an_entry_with_a_border_is_read_as_it_was_written(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "b", border=6)
    manifest = Bundle.open(folder).manifest
    assert [graph.border for graph in manifest.graphs] == [6, 6]
    assert type(manifest).from_json(manifest.to_json(), "'m'") == manifest
