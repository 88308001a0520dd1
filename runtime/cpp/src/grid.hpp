// The grid that an image is run on: the caller's, or the graph's own, or the image whole.
#pragma once

#include <optional>
#include <vector>

#include "manifest.hpp"
#include "tiles.hpp"

namespace hcflow {

/// The tiles of an LR size along both axes; the tiles are their product, row-major.
struct Grid {
    std::vector<Span> rows;
    std::vector<Span> columns;
};

/// Throws Error (parameter): an overlap larger than its tile.
Grid make_grid(Size lr, const Graph& graph, const std::optional<Tiling>& wanted);

}  // namespace hcflow
