// Sizes that are no multiple of the scale: pad before going down, crop after coming up.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "hcflow/hcflow.hpp"

namespace hcflow {

/// For each pixel of a padded axis in [start, stop) the pixel of the axis of `size` that stands
/// there: reflected as numpy.pad does it (the border pixel is not repeated; a single one is).
std::vector<std::size_t> reflected_indices(std::size_t start, std::size_t stop, std::size_t size);

/// The size to crop an upscaled image to. Throws Error (parameter): the wanted size is not within
/// scale - 1 below scale × the LR size.
Size target_size(Size lr, std::size_t scale, const std::optional<Size>& wanted);

}  // namespace hcflow
