// How an image will be computed: by which graph, on which grid of tiles, smaller ones where memory
// is short (runtime/plans.py).
#pragma once

#include "inference/network.hpp"
#include "tiling/grid.hpp"

namespace hcflow {

/// The graph, of at least one, whose windows take the least time for an image; none that would run
/// whole what fp32 cuts. It follows from the image's size, so that the same image always gives the
/// same bytes. Throws Error (parameter): as make_grid.
const Graph& cheapest(const std::vector<const Graph*>& graphs, Size lr,
                      const std::optional<Tiling>& wanted);

/// The cheapest of a network's candidates. Throws Error (bundle, parameter): as Network::graph and
/// make_grid.
const Graph& choose(const Network& network, Direction direction, bool latents, Size lr,
                    const std::optional<Tiling>& wanted);

/// The grid that was asked for or, where not even one of its windows fits into memory, that of
/// tiles halved until one does; `available` is Network::MemoryBudget's, `report`, if not null,
/// takes note. Throws Error (parameter): as make_grid; (image): too little memory.
Grid make_plan(const Graph& graph, std::size_t scale, std::optional<double> available, Size lr,
               const std::optional<Tiling>& wanted, Report* report);

/// Note that the windows of a plan have been run: what they took is used again for the next.
void note_run(Network::MemoryBudget& budget, const Graph& graph, const Grid& grid);

}  // namespace hcflow
