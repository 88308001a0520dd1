#include "inference/plan.hpp"

#include <algorithm>

#include "core/error.hpp"
#include "gpu/library.hpp"
#include "inference/auto_precision.hpp"
#include "system/machine.hpp"

namespace hcflow {
namespace {

// Peak memory of a run / live activations, as in runtime/inference/memory.py.
constexpr double kMemoryOverhead = 2.0;
// In LR pixels. Smaller tiles would spend most of their time on overlap.
constexpr std::size_t kSmallestTile = 16;
// Of an output pixel: three float32 channels.
constexpr double kPixelBytes = 12;

/// The time of a graph on a grid, relative to an fp32 pixel.
double cost(const Graph& graph, const Grid& grid, double int8_cost) {
    const Size window = grid.window();
    double total = graph.precision == Precision::int8 ? int8_cost : 1.0;
    for (const std::size_t factor :
         {grid.rows.size(), grid.columns.size(), window.height, window.width})
        total *= static_cast<double>(factor);
    return total;
}

/// Most that neighbouring tiles should differ (runtime/inference/report.py).
float expected_disagreement(const Graph& graph) {
    constexpr double kBudget = 1.0 / 255;
    constexpr double kMoreThanMeasured = 2;
    constexpr double kMost = 16.0 / 255;
    if (graph.precision == Precision::fp32 || !graph.neighbours) return static_cast<float>(kBudget);
    return static_cast<float>(
        std::max(kBudget, std::min(kMoreThanMeasured * *graph.neighbours, kMost)));
}

/// Whether tile borders may show that nothing has compared (runtime/inference/report.py).
bool overlap_short(const Graph& graph, const Grid& grid) {
    const std::size_t overlap = grid.tiling.overlap;
    const bool unseen = overlap == 0 || graph.precision != Precision::fp32;
    return grid.count() > 1 && graph.overlap && overlap < *graph.overlap && unseen;
}

double window_bytes(const Graph& graph, Size window) {
    return static_cast<double>(graph.bytes_per_lr_pixel) * kMemoryOverhead *
           static_cast<double>(window.height) * static_cast<double>(window.width);
}

/// The grids that take the place of a grid if memory is short: the recorded ones with smaller
/// tiles; of a manifest with one grid alone, halved tiles.
std::vector<Grid> smaller_grids(const Grid& grid, const Graph& graph, const WantedGrid& wanted) {
    std::vector<Grid> grids;
    if (!(wanted.tiling ? wanted.tiling->tile > 0 : graph.tile.has_value())) return grids;
    if (graph.grids.size() > 1) {
        const bool own = wanted.tiling && wanted.tiling->overlap != Tiling::kOwnOverlap;
        for (const Tiling& each : graph.grids)
            if (each.tile < grid.tiling.tile)
                grids.push_back(make_tiles(
                    grid.lr, {each.tile, own ? grid.tiling.overlap : each.overlap}, grid.border));
        return grids;
    }
    std::size_t side =
        std::min(grid.tiling.tile, std::max(grid.lr.height, grid.lr.width) + 2 * grid.border);
    while (side > kSmallestTile) {
        side = std::max(side / 2, kSmallestTile);
        grids.push_back(make_tiles(grid.lr, {side, grid.tiling.overlap}, grid.border));
    }
    return grids;
}

/// Python keeps two rows of tiles of the output as floats. This library does not, but counts them
/// too, so that equal memory gives equal tiles and equal bytes.
double plan_bytes(const Graph& graph, const Grid& grid, std::size_t scale) {
    const double factor =
        graph.direction == Direction::inverse ? static_cast<double>(scale * scale) : 1;
    const Size window = grid.window();
    const double streamed = 2 * kPixelBytes * factor * static_cast<double>(window.height) *
                            static_cast<double>(grid.lr.width);
    return window_bytes(graph, window) + (grid.rows.size() > 1 ? streamed : 0);
}

}  // namespace

const Graph& cheapest(const std::vector<const Graph*>& graphs, Size lr, const WantedGrid& wanted,
                      double int8_cost) {
    const bool cut = std::any_of(graphs.begin(), graphs.end(), [&](const Graph* graph) {
        return graph->precision == Precision::fp32 && make_grid(lr, *graph, wanted).count() > 1;
    });
    const Graph* best = nullptr;
    double least = 0;
    // From the last, so that the later of two equal graphs is chosen.
    for (auto graph = graphs.rbegin(); graph != graphs.rend(); ++graph) {
        const Grid grid = make_grid(lr, **graph, wanted);
        // It would run untiled and need more memory.
        if (cut && grid.count() == 1) continue;
        const double price = cost(**graph, grid, int8_cost);
        if (best == nullptr || price < least) {
            best = *graph;
            least = price;
        }
    }
    if (best == nullptr) throw_error(ErrorCode::bundle, "there is no graph to choose from");
    return *best;
}

const Graph& choose(const Network& network, Direction direction, bool latents, Size lr,
                    const WantedGrid& wanted) {
    std::vector<const Graph*> graphs;
    for (const Precision precision : network.precisions())
        graphs.push_back(&network.graph(direction, latents, precision));
    if (graphs.size() == 1) return *graphs.front();
    return cheapest(graphs, lr, wanted, int8_cost(cpu_flags()).value_or(1));
}

Grid make_plan(const Graph& graph, std::size_t scale, std::optional<double> available, Size lr,
               const WantedGrid& wanted, Report* report) {
    Grid grid = make_grid(lr, graph, wanted);
    bool smaller = false;
    if (available && plan_bytes(graph, grid, scale) > *available) {
        const std::vector<Grid> others = smaller_grids(grid, graph, wanted);
        const auto fitting = std::find_if(others.begin(), others.end(), [&](const Grid& other) {
            return plan_bytes(graph, other, scale) <= *available;
        });
        if (fitting == others.end()) {
            const Grid& least = others.empty() ? grid : others.back();
            const Size window = least.window();
            throw_error(ErrorCode::image, "a low-resolution size of ", window.width, "x",
                        window.height, " needs about ", plan_bytes(graph, least, scale) / 1e9,
                        " GB of memory and ", *available / 1e9, " GB are free: give ",
                        others.empty() ? "a tiling, or " : "", "a smaller image");
        }
        grid = *fitting;
        smaller = true;
    }
    if (report != nullptr) {
        report->precision = graph.precision;
        report->tiling = grid.tiling;
        report->memory_short = report->memory_short || smaller;
        report->overlap_short = overlap_short(graph, grid);
        report->expected_disagreement = expected_disagreement(graph);
    }
    return grid;
}

Grid reserve_plan(Network& network, const Graph& graph, Grid grid, const WantedGrid& wanted,
                  Report* report) {
    if (network.gpu() < 0) return grid;
    const std::vector<Grid> smaller = smaller_grids(grid, graph, wanted);
    for (auto next = smaller.begin();; ++next) {
        try {
            network.reserve(graph, grid.window());
            return grid;
        } catch (const gpu::OutOfGpuMemory&) {
            if (next == smaller.end()) throw;
        }
        grid = *next;
        if (report != nullptr) {
            report->tiling = grid.tiling;
            report->overlap_short = overlap_short(graph, grid);
            report->memory_short = true;
        }
    }
}

void note_run(Network::MemoryBudget& budget, const Graph& graph, const Grid& grid) {
    budget.record(window_bytes(graph, grid.window()));
}

}  // namespace hcflow
