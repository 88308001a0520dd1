// The tiles that an image is run in (runtime/inference/grid.py): the caller's grid, else the
// graph's, else one tile. All windows have one size; each is cropped to its core.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "bundle/manifest.hpp"

namespace hcflow {

/// A tile along one axis, in LR pixels: its core [start, stop) inside its window.
struct Span {
    std::size_t start, stop;
    std::size_t window_start, window_stop;

    [[nodiscard]] std::size_t window() const { return window_stop - window_start; }
};

/// The tiles of an axis. tile: side of a core, >= 1; overlap: what the window adds on each side.
std::vector<Span> spans(std::size_t length, std::size_t tile, std::size_t overlap);

/// A tile and its place in the grid.
struct Tile {
    std::size_t row, column;
    Span y, x;
};

/// The tiles of an LR size along both axes.
struct Grid {
    Size lr;
    Tiling tiling;  ///< {its larger side, 0} for an image that is not tiled
    std::vector<Span> rows;
    std::vector<Span> columns;

    /// Tile number `index`, row by row.
    [[nodiscard]] Tile tile(std::size_t index) const;
    [[nodiscard]] std::size_t count() const { return rows.size() * columns.size(); }
    /// The size of the largest window, in LR pixels.
    [[nodiscard]] Size window() const;
};

/// The grid of an LR size; tiling.tile >= 1.
Grid make_tiles(Size lr, const Tiling& tiling);

/// The grid of an image: `wanted`, else the graph's own, else one tile.
/// Throws Error (parameter): the overlap is larger than the tile, or the graph has no overlap.
Grid make_grid(Size lr, const Graph& graph, const std::optional<Tiling>& wanted);

}  // namespace hcflow
