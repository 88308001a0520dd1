#include "grid.hpp"

#include "fail.hpp"

namespace hcflow {

Grid make_grid(Size lr, const Graph& graph, const std::optional<Tiling>& wanted) {
    if (wanted && wanted->tile > 0 && wanted->overlap > wanted->tile)
        fail(ErrorCode::parameter, "overlap ", wanted->overlap, " is larger than tile ",
             wanted->tile, ": every pixel would be computed more than nine times");
    if (wanted && wanted->tile == 0 && wanted->overlap > 0)
        fail(ErrorCode::parameter, "overlap ", wanted->overlap,
             " without a tile: give a tile of at least the overlap");
    Tiling tiling = wanted.value_or(Tiling{graph.tile.value_or(0), graph.overlap.value_or(0)});
    if (!wanted && !(graph.tile && graph.overlap)) tiling = {};
    if (tiling.tile == 0) return {spans(lr.height, lr.height, 0), spans(lr.width, lr.width, 0)};
    return {spans(lr.height, tiling.tile, tiling.overlap),
            spans(lr.width, tiling.tile, tiling.overlap)};
}

}  // namespace hcflow
