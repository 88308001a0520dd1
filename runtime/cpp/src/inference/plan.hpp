// How an image is computed: with which graph and in which tiles, which get smaller if memory is
// short (runtime/inference/plan.py).
#pragma once

#include "inference/network.hpp"
#include "tiling/grid.hpp"

namespace hcflow {

/// The graph whose windows take the least time for an image; there must be at least one. If fp32
/// tiles the image, graphs that would not are left out. The result depends on the image's size and
/// on `int8_cost`, the time of a pixel in INT8 / in another precision. Throws Error (parameter): as
/// make_grid.
const Graph& cheapest(const std::vector<const Graph*>& graphs, Size lr, const WantedGrid& wanted,
                      double int8_cost);

/// The cheapest graph of a network. Throws Error (bundle, parameter): as Network::graph and
/// make_grid.
const Graph& choose(const Network& network, Direction direction, bool latents, Size lr,
                    const WantedGrid& wanted);

/// The grid that was asked for. If one of its windows does not fit into memory, the largest
/// recorded grid that does. `available`: of Network::MemoryBudget; `report` may be null. Throws
/// Error (parameter): as make_grid; (image): too little memory.
Grid make_plan(const Graph& graph, std::size_t scale, std::optional<double> available, Size lr,
               const WantedGrid& wanted, Report* report);

/// The grid, or the first of smaller tiles whose windows fit into the GPU's memory, which is taken
/// for them; without a GPU the grid. Throws gpu::OutOfGpuMemory, Error (bundle, backend).
Grid reserve_plan(Network& network, const Graph& graph, Grid grid, const WantedGrid& wanted,
                  Report* report);

/// Records the memory that the windows of a plan took: later runs use it again.
void note_run(Network::MemoryBudget& budget, const Graph& graph, const Grid& grid);

}  // namespace hcflow
