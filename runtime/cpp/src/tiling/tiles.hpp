// The canonical grid (runtime/tiles.py): an image as windows of one size, each cut to its core.
#pragma once

#include <cstddef>
#include <vector>

namespace hcflow {

/// A tile along one axis, LR pixels: its core [start, stop) inside its window.
struct Span {
    std::size_t start, stop;
    std::size_t window_start, window_stop;

    [[nodiscard]] std::size_t window() const { return window_stop - window_start; }
};

/// The tiles of an axis. tile: side of a core, >= 1; overlap: beyond it on each side.
std::vector<Span> spans(std::size_t length, std::size_t tile, std::size_t overlap);

}  // namespace hcflow
