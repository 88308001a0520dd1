// An LR image through the inverse graph, tile by tile, into the caller's pixels.
#pragma once

#include "image/padding.hpp"
#include "inference/network.hpp"

namespace hcflow {

/// Memory holds one window at a time, besides the caller's pixels. Throws Error: see
/// Model::upscale.
void upscale_into(Network& network, const ConstView& image, View result,
                  const UpscaleOptions& options);

}  // namespace hcflow
