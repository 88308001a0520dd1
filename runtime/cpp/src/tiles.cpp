#include "tiles.hpp"

#include <algorithm>

namespace hcflow {

std::vector<Span> spans(std::size_t length, std::size_t tile, std::size_t overlap) {
    // Compared so that no sum can overflow, whatever tile and overlap are.
    if (length <= tile || (length - tile + 1) / 2 <= overlap) return {{0, length, 0, length}};
    const std::size_t window = tile + 2 * overlap;
    std::vector<Span> all;
    for (std::size_t start = 0; start < length; start += tile) {
        const std::size_t wanted = start > overlap ? start - overlap : 0;
        const std::size_t first = std::min(wanted, length - window);
        all.push_back({start, std::min(start + tile, length), first, first + window});
    }
    return all;
}

}  // namespace hcflow
