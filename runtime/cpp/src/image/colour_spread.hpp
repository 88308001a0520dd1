// Colour spreads from visible into invisible pixels, so that a network sees no hidden colours
// (runtime/images/pixels/colour_spread.py, docs/pixels.md).
#pragma once

#include <cstddef>
#include <vector>

#include "hcflow/hcflow.hpp"

namespace hcflow {

/// The pixels at these rows and columns of a checked view, as planes [3, rows, columns] in [0, 1].
/// A gray image gives three equal planes. With alpha, pixels that are invisible or nearly so have
/// the colour of the visible pixels around them; each depends on pixels less than 96 away, so that
/// tiles and whole images agree to the bit.
std::vector<float> read_visible_colour(const ConstView& view, const std::vector<std::size_t>& rows,
                                       const std::vector<std::size_t>& columns);

}  // namespace hcflow
