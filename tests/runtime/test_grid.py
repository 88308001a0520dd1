"""The grid: cores cover every pixel once, windows have one size, and nothing else decides."""

from __future__ import annotations

import itertools
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime import ParameterError
from runtime.images.pixels import padding
from runtime.inference.grid import Grid
from runtime.inference.row_buffer import RowBuffer

GRIDS = st.builds(
    Grid,
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    tile=st.integers(1, 40),
    overlap=st.integers(0, 20),
)
BORDERED = st.builds(
    Grid,
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    tile=st.integers(1, 40),
    overlap=st.integers(0, 20),
    border=st.integers(1, 17),
)


@given(grid=GRIDS)
def test_cores_cover_every_pixel_exactly_once_in_row_major_order(grid: Grid) -> None:
    covered = np.zeros((grid.height, grid.width), int)
    places = []
    for tile in grid.tiles():
        covered[tile.y.core(1), tile.x.core(1)] += 1
        places.append((tile.row, tile.column))
    assert (covered == 1).all()
    assert places == [(r, c) for r in range(grid.rows) for c in range(grid.columns)]


@given(grid=GRIDS)
def test_every_window_has_the_same_size_and_holds_its_core_with_the_overlap(grid: Grid) -> None:
    for tile in grid.tiles():
        for span, length in ((tile.y, grid.height), (tile.x, grid.width)):
            assert 0 <= span.window_start <= span.start < span.stop <= span.window_stop <= length
            before, after = span.start - span.window_start, span.window_stop - span.stop
            assert span.window_start == 0 or before >= grid.overlap
            assert span.window_stop == length or after >= grid.overlap
        size = (
            tile.y.window_stop - tile.y.window_start,
            tile.x.window_stop - tile.x.window_start,
        )
        assert size == grid.window


@given(grid=GRIDS)
def test_windows_only_move_down(grid: Grid) -> None:
    rows = [grid.row(index) for index in range(grid.rows)]
    for above, below in itertools.pairwise(rows):
        assert above.window_start <= below.window_start
        assert above.window_stop <= below.window_stop


@given(grid=GRIDS)
def test_no_window_is_larger_than_tile_and_overlap_or_than_it_has_to_be(grid: Grid) -> None:
    for length, count, side in zip(
        (grid.height, grid.width), (grid.rows, grid.columns), grid.window, strict=True
    ):
        assert side <= grid.tile + 2 * grid.overlap
        covered = count * side - (count - 1) * 2 * grid.overlap
        assert length <= covered < length + count


@given(grid=GRIDS)
def test_there_are_as_few_tiles_as_windows_of_full_size_allow(grid: Grid) -> None:
    full = grid.tile + 2 * grid.overlap
    for length, count in ((grid.height, grid.rows), (grid.width, grid.columns)):
        fewer = count - 1
        assert fewer * full - (fewer - 1) * 2 * grid.overlap < length or fewer == 0


def test_an_image_that_fits_one_window_is_one_tile() -> None:
    assert (Grid(20, 21, 16, 2).rows, Grid(20, 21, 16, 2).columns) == (1, 2)
    assert Grid(20, 20, 16, 2).window == (20, 20)
    assert Grid.whole(7, 900).window == (7, 900)


def test_an_image_slightly_beyond_one_window_is_computed_about_once() -> None:
    grid = Grid(280, 280, 240, 8)
    rows, columns = grid.window
    assert (grid.rows, grid.columns, rows, columns) == (2, 2, 148, 148)


def test_the_worked_example_of_the_manual() -> None:
    spans = [Grid(100, 1, 40, 8).row(k) for k in range(3)]
    assert [(s.start, s.stop, s.window_start, s.window_stop) for s in spans] == [
        (0, 36, 0, 44),
        (36, 64, 28, 72),
        (64, 100, 56, 100),
    ]


@pytest.mark.parametrize("wrong", [{"tile": 0}, {"tile": -3}, {"overlap": -1}, {"height": 0}])
def test_a_grid_that_makes_no_sense_is_refused(wrong: dict[str, int]) -> None:
    name, value = next(iter(wrong.items()))
    with pytest.raises(ParameterError, match=f"{name} is {value}: it must be"):
        Grid(**({"height": 9, "width": 9, "tile": 4, "overlap": 1} | wrong))


@settings(max_examples=50)
@given(grid=BORDERED)
def test_with_a_border_cores_cover_the_image_and_windows_lie_in_the_padded_image(
    grid: Grid,
) -> None:
    covered = np.zeros((grid.height, grid.width), int)
    for tile in grid.tiles():
        covered[tile.y.core(1), tile.x.core(1)] += 1
        for span, length, size in (
            (tile.y, grid.height, grid.window[0]), (tile.x, grid.width, grid.window[1]),
        ):  # fmt: skip
            assert span.start < span.stop
            assert span.window_stop - span.window_start == size <= grid.tile + 2 * grid.overlap
            first, last = -grid.border, length + grid.border
            assert first <= span.window_start <= max(first, span.start - grid.overlap)
            assert min(last, span.stop + grid.overlap) <= span.window_stop <= last
    assert (covered == 1).all()
    one = max(grid.height, grid.width) + 2 * grid.border <= grid.tile + 2 * grid.overlap
    assert not one or grid.rows * grid.columns == 1


def test_a_border_is_shared_and_not_added_to_every_window() -> None:
    assert Grid(512, 512, 208, 12, 8).window == Grid(528, 528, 208, 12).window
    assert Grid.whole(100, 40, 8).window == (116, 56)
    assert [(s.start, s.stop, s.window_start, s.window_stop) for s in (
        Grid(100, 1, 40, 8, 4).row(k) for k in range(3)
    )] == [(0, 34, -4, 43), (34, 65, 26, 73), (65, 100, 57, 104)]  # fmt: skip


@settings(max_examples=20)
@given(grid=BORDERED, cut=st.tuples(st.integers(0, 3), st.integers(0, 3)), skip=st.integers(0, 9))
def test_rows_of_a_border_mirror_the_image_and_are_read_once_in_order(
    grid: Grid, cut: tuple[int, int], skip: int
) -> None:
    height, width = max(1, 4 * grid.height - cut[0]), max(1, 4 * grid.width - cut[1])
    image = np.random.default_rng(0).random((3, height, width), np.float32)
    border = 4 * grid.border
    padded = np.pad(padding.pad(image, 4), ((0, 0), *[(border, border)] * 2), mode="symmetric")
    calls: list[tuple[int, int]] = []

    def colour(start: int, stop: int) -> np.ndarray:
        calls.append((start, stop))
        return image[:, start:stop]

    rows = RowBuffer(Mock(height=height, width=width, colour=colour), 4, border)
    for index in range(min(skip, grid.rows - 1), grid.rows):
        window = grid.row(index).window(4)
        expected = padded[:, window.start + border : window.stop + border]
        np.testing.assert_array_equal(rows.window(window.start, window.stop), expected)
    assert all(a[1] == b[0] for a, b in itertools.pairwise(calls))
    assert calls[-1][1] == height


@given(grid=GRIDS, cut=st.tuples(st.integers(0, 3), st.integers(0, 3)), skip=st.integers(0, 9))
def test_rows_are_read_once_in_order_and_padded_as_the_whole_image(
    grid: Grid, cut: tuple[int, int], skip: int
) -> None:
    height, width = max(1, 4 * grid.height - cut[0]), max(1, 4 * grid.width - cut[1])
    image = np.random.default_rng(0).random((3, height, width), np.float32)
    padded = padding.pad(image, 4)
    calls: list[tuple[int, int]] = []

    def colour(start: int, stop: int) -> np.ndarray:
        calls.append((start, stop))
        return image[:, start:stop]

    rows = RowBuffer(Mock(height=height, width=width, colour=colour), 4)
    for index in range(min(skip, grid.rows - 1), grid.rows):
        window = grid.row(index).window(4)
        np.testing.assert_array_equal(rows.window(window.start, window.stop), padded[:, window])
    assert all(a[1] == b[0] for a, b in itertools.pairwise(calls))
    assert calls[-1][1] == height
