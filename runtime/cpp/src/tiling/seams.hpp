// Neighbouring tiles held against each other beside their seam (runtime/mosaic.py).
#pragma once

#include <vector>

#include "core/tensor.hpp"
#include "tiling/grid.hpp"

namespace hcflow {

/// The seams of one image, whose tiles come row by row.
class Seams {
  public:
    /// `factor`: pixels of the tiles' images an LR pixel; `report`: takes the largest difference,
    /// null for none.
    Seams(const Grid& grid, std::size_t factor, Report* report);

    /// Hold the image [1, 3, …] of a tile's window against its neighbours to the left and above.
    void add(const Tile& tile, const Tensor& image);

  private:
    /// What a window says of one LR pixel beyond its core; empty without overlap.
    struct Strip {
        std::size_t height = 0, width = 0;
        std::vector<float> values;  // [3, height, width]
    };

    static Strip strip(const Tensor& image, std::size_t top, std::size_t left, std::size_t height,
                       std::size_t width);
    void compare(const Strip& expected, const Tensor& image, std::size_t top, std::size_t left);

    std::size_t factor_;
    Report* report_;
    Strip right_;
    std::vector<Strip> below_;  // of each column
};

}  // namespace hcflow
