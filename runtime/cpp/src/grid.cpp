#include "grid.hpp"

#include <algorithm>

#include "fail.hpp"

namespace hcflow {

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
    if (wanted && wanted->tile > 0 && wanted->overlap > wanted->tile)
        fail(ErrorCode::parameter, "overlap ", wanted->overlap, " is larger than tile ",
             wanted->tile, ": every pixel would be computed more than nine times");
    if (wanted && wanted->tile == 0 && wanted->overlap > 0)
        fail(ErrorCode::parameter, "overlap ", wanted->overlap,
             " without a tile: give a tile of at least the overlap");
    Tiling tiling = wanted.value_or(Tiling{graph.tile.value_or(0), graph.overlap.value_or(0)});
    if (!wanted && !(graph.tile && graph.overlap)) tiling = {};
    return cut(lr, tiling.tile > 0 ? tiling : Tiling{std::max(lr.height, lr.width), 0});
}

}  // namespace hcflow
