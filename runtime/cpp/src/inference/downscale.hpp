// Downscales an HR image tile by tile with the forward graph, into the caller's pixels.
#pragma once

#include "inference/network.hpp"

namespace hcflow {

/// Both sides / scale, rounded up.
Size downscaled_size(Size hr, std::size_t scale);

/// `latents`: null, or latents of the right shapes that are written. Throws Error: as
/// Model::downscale.
void downscale_into(Network& network, const ConstView& image, View result,
                    const DownscaleOptions& options, Latents* latents);

}  // namespace hcflow
