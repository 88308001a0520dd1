#include "tiling/tiles.hpp"

#include <algorithm>

namespace hcflow {

std::vector<Span> spans(std::size_t length, std::size_t tile, std::size_t overlap) {
    // Compared so that no sum can overflow, whatever tile and overlap are.
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

}  // namespace hcflow
