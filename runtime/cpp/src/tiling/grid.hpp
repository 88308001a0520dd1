// The grid that an image is run on: the caller's, or the graph's own, or the image whole.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "bundle/manifest.hpp"

namespace hcflow {

/// A tile along one axis, LR pixels: its core [start, stop) inside its window.
struct Span {
    std::size_t start, stop;
    std::size_t window_start, window_stop;

    [[nodiscard]] std::size_t window() const { return window_stop - window_start; }
};

/// The tiles of an axis. tile: side of a core, >= 1; overlap: beyond it on each side.
std::vector<Span> spans(std::size_t length, std::size_t tile, std::size_t overlap);

/// A tile and where it stands in the grid.
struct Tile {
    std::size_t row, column;
    Span y, x;
};

/// The tiles of an LR size along both axes.
struct Grid {
    Size lr;
    Tiling tiling;  ///< of an image run whole: its larger side, 0
    std::vector<Span> rows;
    std::vector<Span> columns;

    /// The tiles are their product; this is number `index`, row-major.
    [[nodiscard]] Tile tile(std::size_t index) const;
    [[nodiscard]] std::size_t count() const { return rows.size() * columns.size(); }
    /// The largest window there is, LR pixels.
    [[nodiscard]] Size window() const;
};

/// The grid of an LR size; tiling.tile >= 1.
Grid make_tiles(Size lr, const Tiling& tiling);

/// Throws Error (parameter): an overlap larger than its tile, or the graph's own where it has none.
Grid make_grid(Size lr, const Graph& graph, const std::optional<Tiling>& wanted);

}  // namespace hcflow
