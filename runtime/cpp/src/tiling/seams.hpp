// Compares neighbouring tiles beside their seam (runtime/inference/stitching.py).
#pragma once

#include <vector>

#include "core/tensor.hpp"
#include "tiling/grid.hpp"

namespace hcflow {

/// The seams of one image. Its tiles must be added row by row.
class Seams {
  public:
    /// `factor`: pixels of the tiles' images per LR pixel. The largest difference goes to `report`;
    /// if that is null, nothing is compared.
    Seams(const Grid& grid, std::size_t factor, Report* report);

    /// Compares the image [1, 3, …] of a tile's window with its neighbours to the left and above.
    void add(const Tile& tile, const Tensor& image);

  private:
    /// The pixels of a window within one LR pixel beyond its core; empty if there is no overlap.
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
    std::vector<Strip> below_;  // one per column
};

}  // namespace hcflow
