// Upscales an LR image tile by tile with the inverse graph, into the caller's pixels.
#pragma once

#include "image/padding.hpp"
#include "inference/network.hpp"

namespace hcflow {

/// Keeps one window at a time in memory, besides the caller's pixels. Throws Error: as
/// Model::upscale.
void upscale_into(Network& network, const ConstView& image, View result,
                  const UpscaleOptions& options);

}  // namespace hcflow
