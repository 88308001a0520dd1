// Pillow's resampling of one float32 plane, bit for bit; used for alpha.
// The algorithm is that of Pillow's Resample.c: two passes, weights and sums in double.
#pragma once

#include <cstddef>
#include <vector>

namespace hcflow {

enum class Filter { box, bicubic };  // bicubic with a = -0.5

/// The inputs and weights of each output along one axis.
class Resampling {
  public:
    Resampling(std::size_t input, std::size_t output, Filter filter);

    struct Taps {
        std::size_t first;
        std::vector<double> weights;
    };
    [[nodiscard]] const Taps& at(std::size_t output) const { return taps_[output]; }

  private:
    std::vector<Taps> taps_;
};

/// A plane [height, width], row-major.
struct Plane {
    std::size_t height = 0;
    std::size_t width = 0;
    std::vector<float> values;
};

/// Rows [top, top + height) and columns [left, left + width) of the resized plane.
Plane resample(const Plane& plane, const Resampling& vertical, const Resampling& horizontal,
               std::size_t top, std::size_t left, std::size_t height, std::size_t width);

}  // namespace hcflow
