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

std::vector<Span> spans(std::size_t length, std::size_t tile, std::size_t overlap,
                        std::size_t border) {
    const std::size_t padded = length + 2 * border;
    const auto image = [&](std::size_t place) {
        return static_cast<std::int64_t>(place) - static_cast<std::int64_t>(border);
    };
    // Written so that no sum overflows for any tile and overlap.
    if (padded <= tile || (padded - tile + 1) / 2 <= overlap)
        return {{0, length, image(0), image(padded)}};
    const std::size_t count = (padded - 2 * overlap + tile - 1) / tile;
    const std::size_t window = (padded + (count - 1) * 2 * overlap + count - 1) / count;
    const std::size_t gaps = std::max<std::size_t>(count - 1, 1);
    const auto start = [&](std::size_t k) { return k * (padded - window) / gaps; };
    // Windows whose core would be padding alone are left out.
    std::size_t first = 0, last = count - 1;
    while (first < last && start(first + 1) + overlap <= border) ++first;
    while (last > first && start(last) + overlap >= border + length) --last;
    std::vector<Span> all;
    for (std::size_t k = first; k <= last; ++k)
        all.push_back({k == first ? 0 : start(k) + overlap - border,
                       k == last ? length : start(k + 1) + overlap - border, image(start(k)),
                       image(start(k) + window)});
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

Grid make_tiles(Size lr, const Tiling& tiling, std::size_t border) {
    return {lr, tiling, border, spans(lr.height, tiling.tile, tiling.overlap, border),
            spans(lr.width, tiling.tile, tiling.overlap, border)};
}

Grid make_grid(Size lr, const Graph& graph, const WantedGrid& wanted) {
    const std::size_t border = wanted.border ? graph.border : 0;
    Tiling tiling;
    if (wanted.tiling)
        tiling = with_overlap(*wanted.tiling, graph);
    else if (graph.tile && graph.overlap)
        tiling = {*graph.tile, *graph.overlap};
    if (tiling.tile == 0) tiling = {std::max(lr.height, lr.width) + 2 * border, 0};
    return make_tiles(lr, tiling, border);
}

}  // namespace hcflow
