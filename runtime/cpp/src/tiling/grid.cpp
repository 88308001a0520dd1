#include "tiling/grid.hpp"

#include <algorithm>

#include "core/error.hpp"

namespace hcflow {
namespace {

/// The caller's tiling with its overlap known. The graph's own may be larger than the tile.
Tiling complete(const Tiling& wanted, const Graph& graph) {
    const auto [tile, overlap] = wanted;
    if (overlap == Tiling::kOwnOverlap) {
        if (tile == 0) return {};
        if (!graph.overlap)
            fail(ErrorCode::parameter, "'", graph.file,
                 "' states no tiles of its own: give overlap as well");
        return {tile, *graph.overlap};
    }
    if (tile > 0 && overlap > tile)
        fail(ErrorCode::parameter, "overlap ", overlap, " is larger than tile ", tile,
             ": every pixel would be computed more than nine times");
    if (tile == 0 && overlap > 0)
        fail(ErrorCode::parameter, "overlap ", overlap,
             " without a tile: give a tile of at least the overlap");
    return wanted;
}

}  // namespace

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

Grid cut(Size lr, const Tiling& tiling) {
    return {lr, tiling, spans(lr.height, tiling.tile, tiling.overlap),
            spans(lr.width, tiling.tile, tiling.overlap)};
}

Grid make_grid(Size lr, const Graph& graph, const std::optional<Tiling>& wanted) {
    Tiling tiling;
    if (wanted)
        tiling = complete(*wanted, graph);
    else if (graph.tile && graph.overlap)
        tiling = {*graph.tile, *graph.overlap};
    return cut(lr, tiling.tile > 0 ? tiling : Tiling{std::max(lr.height, lr.width), 0});
}

}  // namespace hcflow
