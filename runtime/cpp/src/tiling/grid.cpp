#include "tiling/grid.hpp"

#include <algorithm>

#include "core/error.hpp"

namespace hcflow {
namespace {

/// The caller's tiling with the graph's overlap filled in, which may be larger than the tile.
Tiling with_overlap(const Tiling& wanted, const Graph& graph) {
    const auto [tile, overlap] = wanted;
    if (overlap == Tiling::kOwnOverlap) {
        if (tile == 0) return {};
        if (!graph.overlap)
            throw_error(ErrorCode::parameter, "'", graph.file, "' states no overlap: give one");
        return {tile, *graph.overlap};
    }
    if (tile > 0 && overlap > tile)
        throw_error(ErrorCode::parameter, "overlap ", overlap, " is larger than tile ", tile,
                    ": every pixel would be computed more than nine times");
    if (tile == 0 && overlap > 0)
        throw_error(ErrorCode::parameter, "overlap ", overlap,
                    " without a tile: give a tile of at least the overlap");
    return wanted;
}

}  // namespace

std::vector<Span> spans(std::size_t length, std::size_t tile, std::size_t overlap) {
    // Written so that no sum overflows for any tile and overlap.
    if (length <= tile || (length - tile + 1) / 2 <= overlap) return {{0, length, 0, length}};
    const std::size_t count = (length - 2 * overlap + tile - 1) / tile;
    const std::size_t window = (length + (count - 1) * 2 * overlap + count - 1) / count;
    const std::size_t gaps = std::max<std::size_t>(count - 1, 1);
    const auto start = [&](std::size_t k) { return k * (length - window) / gaps; };
    std::vector<Span> all;
    for (std::size_t k = 0; k < count; ++k)
        all.push_back({k == 0 ? 0 : start(k) + overlap,
                       k == count - 1 ? length : start(k + 1) + overlap, start(k),
                       start(k) + window});
    return all;
}

Tile Grid::tile(std::size_t index) const {
    const std::size_t row = index / columns.size(), column = index % columns.size();
    return {row, column, rows[row], columns[column]};
}

Size Grid::window() const {
    const auto largest = [](const std::vector<Span>& spans) {
        std::size_t most = 0;
        for (const Span& span : spans) most = std::max(most, span.window());
        return most;
    };
    return {largest(columns), largest(rows)};
}

Grid make_tiles(Size lr, const Tiling& tiling) {
    return {lr, tiling, spans(lr.height, tiling.tile, tiling.overlap),
            spans(lr.width, tiling.tile, tiling.overlap)};
}

Grid make_grid(Size lr, const Graph& graph, const std::optional<Tiling>& wanted) {
    Tiling tiling;
    if (wanted)
        tiling = with_overlap(*wanted, graph);
    else if (graph.tile && graph.overlap)
        tiling = {*graph.tile, *graph.overlap};
    return make_tiles(lr, tiling.tile > 0 ? tiling : Tiling{std::max(lr.height, lr.width), 0});
}

}  // namespace hcflow
