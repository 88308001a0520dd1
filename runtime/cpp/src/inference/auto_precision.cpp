#include "inference/auto_precision.hpp"

#include <algorithm>
#include <array>

#include "tiling/grid.hpp"

namespace hcflow {
namespace {

// Linux's names of the dot products of bytes; without one INT8 is no faster than float32.
constexpr std::array<const char*, 4> kInt8 = {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"};
// Time of a pixel in INT8 / its time in fp32: the largest ever measured (docs/precision.md, 3).
constexpr double kInt8Cost = 0.42;

double cost(const Graph& graph, const Grid& grid) {
    const Size window = grid.window();
    double total = graph.precision == Precision::int8 ? kInt8Cost : 1.0;
    for (const std::size_t factor :
         {grid.rows.size(), grid.columns.size(), window.height, window.width})
        total *= static_cast<double>(factor);
    return total;
}

/// Whether an INT8 graph within its budget can take the place of every fp32 one.
bool complete_in_int8(const Manifest& manifest) {
    const auto of_floats = [](const Graph& graph, Precision precision) {
        return graph.precision == precision && graph.io == "float32";
    };
    const auto& graphs = manifest.graphs;
    const auto is_exact = [&](const Graph& graph) { return of_floats(graph, Precision::fp32); };
    if (std::none_of(graphs.begin(), graphs.end(), is_exact)) return false;
    return std::all_of(graphs.begin(), graphs.end(), [&](const Graph& graph) {
        return !is_exact(graph) ||
               std::any_of(graphs.begin(), graphs.end(), [&](const Graph& other) {
                   return of_floats(other, Precision::int8) && other.within_budget &&
                          other.direction == graph.direction && other.latents == graph.latents;
               });
    });
}

}  // namespace

std::vector<Precision> candidates(const Manifest& manifest, const std::string& backend,
                                  const std::set<std::string>& flags) {
    const bool fast = std::any_of(kInt8.begin(), kInt8.end(),
                                  [&](const char* flag) { return flags.count(flag) > 0; });
    if (backend != "openvino" || !fast || !complete_in_int8(manifest)) return {Precision::fp32};
    return {Precision::int8, Precision::fp32};
}

const Graph& cheapest(const std::vector<const Graph*>& graphs, Size lr,
                      const std::optional<Tiling>& wanted) {
    const bool cut = std::any_of(graphs.begin(), graphs.end(), [&](const Graph* graph) {
        return graph->precision == Precision::fp32 && make_grid(lr, *graph, wanted).count() > 1;
    });
    const Graph* best = nullptr;
    double least = 0;
    // From the last, so that of two equal ones the later is taken.
    for (auto graph = graphs.rbegin(); graph != graphs.rend(); ++graph) {
        const Grid grid = make_grid(lr, **graph, wanted);
        // It would run whole, whatever memory that takes.
        if (cut && grid.count() == 1) continue;
        const double price = cost(**graph, grid);
        if (best == nullptr || price < least) {
            best = *graph;
            least = price;
        }
    }
    return *best;
}

const Graph& choose(const Network& network, Direction direction, bool latents, Size lr,
                    const std::optional<Tiling>& wanted) {
    std::vector<const Graph*> graphs;
    for (const Precision precision : network.precisions())
        graphs.push_back(&network.graph(direction, latents, precision));
    return cheapest(graphs, lr, wanted);
}

}  // namespace hcflow
