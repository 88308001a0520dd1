// Where the input has no colour over a network's reach, the output has none: its luma remains
// (runtime/images/pixels/neutral.py, docs/pixels.md).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "hcflow/hcflow.hpp"
#include "image/resample.hpp"

namespace hcflow {

/// How much colour each LR pixel of an image has around it: the largest chroma within 6 LR pixels,
/// averaged over ±3. A byte an LR pixel, and integers, so that every tiling gives the same.
class ColourMap {
  public:
    /// Reads the whole image by strips; `block`: its pixels an LR pixel, each way. `cancel` is
    /// asked before every strip. Throws Error (cancelled).
    ColourMap(const ConstView& view, std::size_t block, const Cancel& cancel);

    /// The part of its colour that each pixel of a rectangle of the output keeps, in [0, 1]: 1 if
    /// there is colour around it. `scale`: output pixels an LR pixel.
    [[nodiscard]] Plane kept(std::size_t top, std::size_t left, std::size_t height,
                             std::size_t width, std::size_t scale) const;

  private:
    /// A rectangle of integers, row-major.
    struct Weights {
        std::size_t height = 0, width = 0;
        std::vector<std::int32_t> values;
    };

    [[nodiscard]] Weights weights(std::size_t top, std::size_t left, std::size_t bottom,
                                  std::size_t right) const;

    std::size_t height_, width_;
    std::vector<std::uint8_t> counted_;  // how much the chroma of an LR pixel counts as colour
};

}  // namespace hcflow
