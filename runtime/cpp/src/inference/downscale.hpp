// An HR image through the forward graph, tile by tile, into the caller's pixels.
#pragma once

#include "inference/network.hpp"

namespace hcflow {

/// Both sides / scale, rounded up.
Size downscaled_size(Size hr, std::size_t scale);

/// `latents`, if not null, has its shapes and room for its values. Throws Error: see Model.
void downscale_into(Network& network, const ConstView& image, View result,
                    const DownscaleOptions& options, Latents* latents);

}  // namespace hcflow
