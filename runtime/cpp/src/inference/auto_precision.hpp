// Which of a bundle's precisions computes an image in the least time (runtime/choice.py).
#pragma once

#include <set>
#include <string>
#include <vector>

#include "inference/network.hpp"

namespace hcflow {

/// The precisions that `automatic` may take in a backend, the cheapest pixel first: INT8 where
/// OpenVINO runs it, the processor multiplies bytes and an INT8 graph within its budget stands
/// beside every fp32 one; then fp32.
std::vector<Precision> candidates(const Manifest& manifest, const std::string& backend,
                                  const std::set<std::string>& flags);

/// The graph, of at least one, whose windows take the least time for an image; none that would run
/// whole what fp32 cuts. It follows from the image's size, so that the same image always gives the
/// same bytes. Throws Error (parameter): as make_grid.
const Graph& cheapest(const std::vector<const Graph*>& graphs, Size lr,
                      const std::optional<Tiling>& wanted);

/// The cheapest of a network's candidates. Throws Error (bundle, parameter): as Network::graph and
/// make_grid.
const Graph& choose(const Network& network, Direction direction, bool latents, Size lr,
                    const std::optional<Tiling>& wanted);

}  // namespace hcflow
