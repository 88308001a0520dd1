// The tiles that an image is run in (runtime/inference/grid.py): the caller's grid, else the
// graph's, else one tile. All windows have one size; each is cropped to its core. The image is
// padded by the graph's border, so that windows begin before it and end beyond it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "bundle/manifest.hpp"

namespace hcflow {

/// A tile along one axis, in LR pixels: its core [start, stop) inside its window.
struct Span {
    std::size_t start, stop;
    std::int64_t window_start, window_stop;

    [[nodiscard]] std::size_t window() const {
        return static_cast<std::size_t>(window_stop - window_start);
    }
    /// Where the core begins in the window.
    [[nodiscard]] std::size_t offset() const {
        return static_cast<std::size_t>(static_cast<std::int64_t>(start) - window_start);
    }
};

/// The tiles of an axis. tile: side of a core, >= 1; overlap: what the window adds on each side;
/// border: what the axis is padded by at both ends.
std::vector<Span> spans(std::size_t length, std::size_t tile, std::size_t overlap,
                        std::size_t border = 0);

/// A tile and its place in the grid.
struct Tile {
    std::size_t row, column;
    Span y, x;
};

/// The tiles of an LR size along both axes.
struct Grid {
    Size lr;
    Tiling tiling;       ///< {its larger side with the border, 0} for an image that is not tiled
    std::size_t border;  ///< of the padded image, on each side
    std::vector<Span> rows;
    std::vector<Span> columns;

    /// Tile number `index`, row by row.
    [[nodiscard]] Tile tile(std::size_t index) const;
    [[nodiscard]] std::size_t count() const { return rows.size() * columns.size(); }
    /// The size of the largest window, in LR pixels.
    [[nodiscard]] Size window() const;
};

/// The grid of an LR size; tiling.tile >= 1.
Grid make_tiles(Size lr, const Tiling& tiling, std::size_t border = 0);

/// The tiles that a caller wants, and whether images get the graph's border: without it latents are
/// those of the image alone.
struct WantedGrid {
    std::optional<Tiling> tiling;
    bool border = true;
};

/// The grid of an image: the wanted one, else the graph's own, else one tile.
/// Throws Error (parameter): the overlap is larger than the tile, or the graph has no overlap.
Grid make_grid(Size lr, const Graph& graph, const WantedGrid& wanted);

}  // namespace hcflow
