"""The predicted floor of an engine's program: by hand, on one card and one size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from runtime.bundle.engines.entry import Engine, Memory, Range
from runtime.bundle.engines.program import Program
from runtime.bundle.reader import Bundle
from runtime.inference import predicted
from runtime.system import gpus
from tests.support.bundles import write_bundle

SIDE = 40
ENGINE = Engine(
    file="inverse.engine",
    sha256="1" * 64,
    bytes=3,
    graph="2" * 64,
    direction="inverse",
    precision="fp16",
    latents=True,
    library="tensorrt-rtx",
    version="1.7.1.116",
    compute_capabilities=("8.9",),
    profiles=({"lr": Range((1, 3, 8, 8), (1, 3, SIDE, SIDE), (1, 3, 64, 64))},),
    tf32=False,
    version_compatible=False,
    hardware="none",
    refittable=False,
    optimization_level=None,
    build_seconds=1.0,
    memory=Memory(None, None, None),
    program=Program({"fp16": 2, "fp32": 1}, 1, 3, 1_000_000, {"fp16": 10**9, "fp32": 10**8}),
)
CARD = gpus.DataSheet(1, fp32=1, fp16=10, int8=20, fp8=None, bandwidth=100)


def test_the_floor_is_the_longer_of_operations_and_bytes_at_the_peaks() -> None:
    found = predicted.floor(ENGINE, CARD, 4, SIDE * SIDE)
    assert found is not None
    assert found.compute == pytest.approx(1e9 / 10e12 + 1e8 / 1e12)
    assert found.traffic == pytest.approx(1e6 / 100e9)
    assert found.seconds == found.compute
    slow = predicted.floor(ENGINE, replace(CARD, bandwidth=1), 4, SIDE * SIDE)
    assert slow is not None
    assert slow.seconds == slow.traffic


def test_the_floor_grows_with_the_pixels_in_both_directions() -> None:
    once, twice = (predicted.floor(ENGINE, CARD, 4, n * SIDE * SIDE) for n in (1, 2))
    assert once is not None
    assert twice is not None
    assert twice.seconds == pytest.approx(2 * once.seconds)
    large = Range((1, 3, 32, 32), (1, 3, 4 * SIDE, 4 * SIDE), (1, 3, 256, 256))
    forward = replace(ENGINE, direction="forward", profiles=({"hr": large},))
    assert predicted.floor(forward, CARD, 4, SIDE * SIDE) == once
    frames = Range((1, 8, 8, 3), (1, SIDE, SIDE, 3), (1, 64, 64, 3))  # uint8 N×H×W×C
    assert predicted.floor(replace(ENGINE, profiles=({"lr": frames},)), CARD, 4, 1600) == once


@pytest.mark.parametrize(
    "changes",
    [
        {"program": None},
        {"program": Program({"fp16": 1}, 0, 0)},
        {"program": Program({"fp8": 1}, 0, 0, 1, {"fp8": 1})},
        {"tf32": True},
    ],
)
def test_what_is_not_known_has_no_floor(changes: dict[str, object]) -> None:
    assert predicted.floor(replace(ENGINE, **changes), CARD, 4, 1) is None  # type: ignore[arg-type]


def test_every_card_has_a_floor_for_both_sizes_by_its_tiles(tmp_path: Path) -> None:
    graph = Bundle.open(write_bundle(tmp_path / "b")).manifest.graphs[0]
    whole = predicted.floors(ENGINE, replace(graph, tile=None, overlap=None, border=0), 4)
    tiled = predicted.floors(ENGINE, replace(graph, tile=96, overlap=16, border=0), 4)
    assert set(whole) == set(predicted.CARDS)
    for card, row in whole.items():
        assert set(row) == {"1080p", "8K"}
        for size, floor in row.items():
            assert floor is not None
            beside = tiled[card][size]
            assert beside is not None
            assert floor.seconds < beside.seconds < 2 * floor.seconds


def test_pixels_computed_are_those_of_every_window(tmp_path: Path) -> None:
    graph = Bundle.open(write_bundle(tmp_path / "b")).manifest.graphs[0]
    assert predicted.computed(replace(graph, tile=None, border=2), 4, 40, 80) == 14 * 24
    assert predicted.computed(replace(graph, tile=10, overlap=5, border=0), 4, 120, 40) == 200 * 2
