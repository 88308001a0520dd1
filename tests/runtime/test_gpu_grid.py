"""The recorded grid that a GPU runs: one that fits its L2 cache, where that is predicted faster."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from runtime.bundle.engines.entry import Memory, Range
from runtime.bundle.engines.program import Program
from runtime.bundle.graph_entry import Graph, RecordedGrid
from runtime.bundle.reader import Bundle
from runtime.inference import predicted
from runtime.inference.auto import gpu_grid
from runtime.inference.grid import Grid
from runtime.system import gpus
from runtime.system.gpus import Card
from tests.runtime.test_predicted import ENGINE
from tests.support.bundles import write_bundle

MIB = 1 << 20
GRIDS = (RecordedGrid(208, 12), RecordedGrid(104, 12), RecordedGrid(48, 12), RecordedGrid(24, 12))
WINDOW = GRIDS[0].window
PIXELS = WINDOW * WINDOW
L4 = Card("NVIDIA L4", 58, 48 * MIB)

# 4 kB alive and 2 MB moved a pixel, little to multiply, few kernels: bound by memory alone.
BOUND = replace(
    ENGINE,
    profiles=({"lr": Range((1, 3, 8, 8), (1, 3, WINDOW, WINDOW), (1, 3, WINDOW, WINDOW))},),
    memory=Memory(None, None, round(gpu_grid.SCRATCH) + 2_500 * PIXELS),
    program=Program({"fp16": 10}, 0, 0, 2_000_000 * PIXELS, {"fp16": 1_000_000 * PIXELS}),
)


@pytest.fixture
def graph(tmp_path: Path) -> Graph:
    made = Bundle.open(write_bundle(tmp_path / "b")).manifest.graphs[0]
    return replace(made, tile=208, overlap=12, grids=GRIDS)


def own(height: int = 1000, width: int = 1000) -> Grid:
    return Grid(height, width, 208, 12, 6)


def test_a_program_bound_by_memory_runs_in_the_largest_grid_that_fits_the_cache(
    graph: Graph,
) -> None:
    chosen = gpu_grid.choose(graph, BOUND, L4, 4, own())
    assert (chosen.tile, chosen.overlap, chosen.border) == (48, 12, 6)
    large = replace(L4, l2=160 * MIB)
    assert gpu_grid.choose(graph, BOUND, large, 4, own()).tile == 104
    small = replace(L4, l2=4 * MIB)
    assert gpu_grid.choose(graph, BOUND, small, 4, own()) == own()


def test_the_graphs_own_grid_stays_where_a_smaller_one_is_not_predicted_to_gain(
    graph: Graph,
) -> None:
    assert BOUND.program is not None
    busy = replace(BOUND.program, operations={"fp16": 1_000_000_000 * PIXELS})
    many = replace(BOUND.program, others=30_000)
    for program in (busy, many):
        engine = replace(BOUND, program=program)
        assert gpu_grid.choose(graph, engine, L4, 4, own()) == own()


def test_the_graphs_own_grid_stays_where_something_is_not_known(graph: Graph) -> None:
    slice_of_it, unlisted = replace(L4, multiprocessors=29), replace(L4, name="NVIDIA L3")
    for card in (slice_of_it, unlisted):
        assert gpu_grid.choose(graph, BOUND, card, 4, own()) == own()
    for engine in (replace(BOUND, program=None), replace(BOUND, memory=Memory(1, 1, None))):
        assert gpu_grid.choose(graph, engine, L4, 4, own()) == own()


def test_an_image_of_one_small_window_keeps_its_grid(graph: Graph) -> None:
    for side in (1, 30, 60):
        assert gpu_grid.choose(graph, BOUND, L4, 4, own(side, side)) == own(side, side)


def test_the_default_inverse_keeps_its_own_grid_on_every_card_of_the_table(graph: Graph) -> None:
    side = (1, 3, 48, 48)
    largest = (1, 3, WINDOW, WINDOW)
    profiles = tuple({"lr": Range((1, 3, 8, 8), shape, shape)} for shape in (side, largest))
    engine = replace(  # as TensorRT-RTX 1.7.1 compiled it in fp16 (docs/engines.md)
        ENGINE,
        profiles=profiles,
        memory=Memory(None, None, 209_267_712),
        program=Program({"fp16": 212, "fp32": 14}, 185, 149, 424_147_968, {"fp16": 57_935_858_688}),
    )
    for name in predicted.CARDS:
        sheet = gpus.listed(name)
        assert sheet.l2 is not None
        card = Card(name, sheet.multiprocessors, round(sheet.l2 * MIB))
        for size in ((270, 480), (1080, 1920)):
            assert gpu_grid.choose(graph, engine, card, 4, own(*size)) == own(*size)
