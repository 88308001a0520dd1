// A tile that goes wrong heals: NaN, infinity or saturation is caught, and the tile is run again
// (runtime/healing.py).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "bundle/manifest.hpp"
#include "core/tensor.hpp"
#include "tiling/grid.hpp"

namespace hcflow {

/// One way to compute a tile: what it is called, the graph, and how to run it.
struct Attempt {
    std::string how;
    const Graph* graph;
    std::function<std::vector<Tensor>()> run;
};

/// The outputs of the first attempt that gives numbers. `report`, if not null, counts the tile and
/// notes how it was healed. Throws Error (backend): every attempt failed; names the tile.
std::vector<Tensor> first_valid(const std::vector<Attempt>& attempts, const Tile& tile,
                                Report* report);

}  // namespace hcflow
