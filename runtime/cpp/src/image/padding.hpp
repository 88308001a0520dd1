// Sizes that are not multiples of the scale: images are padded before downscaling and cropped after
// upscaling.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "hcflow/hcflow.hpp"

namespace hcflow {

/// The source index of each pixel in [start, stop) of an axis of `size` that is padded at its end
/// by reflection, as numpy.pad does: the border pixel is not repeated, unless it is the only one.
std::vector<std::size_t> reflected_indices(std::size_t start, std::size_t stop, std::size_t size);

/// The size to crop an upscaled image to. Throws Error (parameter): the wanted size is larger than
/// scale × the LR size, or more than scale - 1 smaller.
Size target_size(Size lr, std::size_t scale, const std::optional<Size>& wanted);

}  // namespace hcflow
