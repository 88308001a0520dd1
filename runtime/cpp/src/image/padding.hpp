// What lies beyond an image's edge (runtime/images/pixels/padding.py): up to a multiple of the
// scale, and the border around it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "hcflow/hcflow.hpp"

namespace hcflow {

/// The source index of each pixel in [start, stop) of an axis of `size` that is padded at its end
/// by reflection, as numpy.pad does: the border pixel is not repeated, unless it is the only one.
std::vector<std::size_t> reflected_indices(std::size_t start, std::size_t stop, std::size_t size);

/// The source index of each pixel in [start, stop) of an axis of `size` that is padded at its end
/// up to a multiple by reflection. Beyond that, and before 0, the border mirrors the whole of it
/// with its outermost pixel repeated.
std::vector<std::size_t> source_indices(std::int64_t start, std::int64_t stop, std::size_t size,
                                        std::size_t multiple = 1);

/// The size to crop an upscaled image to. Throws Error (parameter): the wanted size is larger than
/// scale × the LR size, or more than scale - 1 smaller.
Size target_size(Size lr, std::size_t scale, const std::optional<Size>& wanted);

}  // namespace hcflow
