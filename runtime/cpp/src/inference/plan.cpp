#include "inference/plan.hpp"

#include <algorithm>

#include "core/error.hpp"
#include "gpu/library.hpp"

namespace hcflow {
namespace {

// Peak memory of a run / live activations, as in runtime/inference/memory.py.
constexpr double kMemoryOverhead = 2.0;
// In LR pixels. Smaller tiles would spend most of their time on overlap.
constexpr std::size_t kSmallestTile = 16;
// Of an output pixel: three float32 channels.
constexpr double kPixelBytes = 12;
// Time per pixel in INT8 / in fp32: the largest measured (docs/precision.md, 3).
constexpr double kInt8Cost = 0.42;

/// The time of a graph on a grid, relative to an fp32 pixel.
double cost(const Graph& graph, const Grid& grid) {
    const Size window = grid.window();
    double total = graph.precision == Precision::int8 ? kInt8Cost : 1.0;
    for (const std::size_t factor :
         {grid.rows.size(), grid.columns.size(), window.height, window.width})
        total *= static_cast<double>(factor);
    return total;
}

double window_bytes(const Graph& graph, Size window) {
    return static_cast<double>(graph.bytes_per_lr_pixel) * kMemoryOverhead *
           static_cast<double>(window.height) * static_cast<double>(window.width);
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

/// Whether tiles may be made smaller where memory is short.
bool may_be_cut(const Graph& graph, const WantedGrid& wanted) {
    return wanted.tiling ? wanted.tiling->tile > 0 : graph.tile.has_value();
}

/// The side of a grid's tiles that smaller ones begin with.
std::size_t side_of(const Grid& grid) {
    return std::min(grid.tiling.tile, std::max(grid.lr.height, grid.lr.width) + 2 * grid.border);
}

}  // namespace

const Graph& cheapest(const std::vector<const Graph*>& graphs, Size lr, const WantedGrid& wanted) {
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
        const double price = cost(**graph, grid);
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
    return cheapest(graphs, lr, wanted);
}

Grid make_plan(const Graph& graph, std::size_t scale, std::optional<double> available, Size lr,
               const WantedGrid& wanted, Report* report) {
    Grid grid = make_grid(lr, graph, wanted);
    bool smaller = false;
    if (available) {
        const bool may_cut = may_be_cut(graph, wanted);
        std::size_t side = side_of(grid);
        while (plan_bytes(graph, grid, scale) > *available && side > kSmallestTile && may_cut) {
            side = std::max(side / 2, kSmallestTile);
            grid = make_tiles(lr, {side, grid.tiling.overlap}, grid.border);
            smaller = true;
        }
        if (const double need = plan_bytes(graph, grid, scale); need > *available) {
            const Size window = grid.window();
            throw_error(ErrorCode::image, "a low-resolution size of ", window.width, "x",
                        window.height, " needs about ", need / 1e9, " GB of memory and ",
                        *available / 1e9, " GB are free: give ", may_cut ? "" : "a tiling, or ",
                        "a smaller image");
        }
    }
    if (report != nullptr) {
        report->precision = graph.precision;
        report->tiling = grid.tiling;
        report->memory_short = report->memory_short || smaller;
    }
    return grid;
}

Grid reserve_plan(Network& network, const Graph& graph, Grid grid, const WantedGrid& wanted,
                  Report* report) {
    if (network.gpu() < 0) return grid;
    for (std::size_t side = side_of(grid);;) {
        try {
            network.reserve(graph, grid.window());
            return grid;
        } catch (const gpu::OutOfGpuMemory&) {
            if (!may_be_cut(graph, wanted) || side <= kSmallestTile) throw;
        }
        side = std::max(side / 2, kSmallestTile);
        grid = make_tiles(grid.lr, {side, grid.tiling.overlap}, grid.border);
        if (report != nullptr) {
            report->tiling = grid.tiling;
            report->memory_short = true;
        }
    }
}

void note_run(Network::MemoryBudget& budget, const Graph& graph, const Grid& grid) {
    budget.record(window_bytes(graph, grid.window()));
}

}  // namespace hcflow
