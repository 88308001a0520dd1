// The fallback of a tile: if its output has NaN, infinity or saturated pixels, it is run again in
// another way (runtime/inference/tile_runner.py).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "bundle/manifest.hpp"
#include "core/tensor.hpp"
#include "tiling/grid.hpp"

namespace hcflow {

/// One way to compute a tile: its name, the graph, and a function that runs it.
struct Attempt {
    std::string how;
    const Graph* graph;
    std::function<std::vector<Tensor>()> run;
};

/// The outputs of the first attempt without NaN, infinity or saturation. `report`, if not null,
/// counts the tile and lists its fallback. Throws Error (backend): every attempt failed, or one
/// after the first could not run; the error names the tile and what was wrong with it.
std::vector<Tensor> first_valid(const std::vector<Attempt>& attempts, const Tile& tile,
                                Report* report);

}  // namespace hcflow
