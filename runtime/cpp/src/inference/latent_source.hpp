// The latents of a run: drawn by position, given by the caller, or none
// (runtime/inference/latent_source.py).
#pragma once

#include <vector>

#include "bundle/manifest.hpp"
#include "core/tensor.hpp"
#include "tiling/grid.hpp"

namespace hcflow {

class LatentSource {
  public:
    /// For an LR image of this size. Throws Error (parameter): invalid tau or latents; (bundle):
    /// the bundle's scheme is unknown.
    LatentSource(const Manifest& manifest, const UpscaleOptions& options, Size lr);

    /// Whether the graph must have latents as inputs.
    [[nodiscard]] bool needed() const { return tau_ > 0 || options_.latents != nullptr; }
    /// Whether latents are drawn, so that tau = 0 is a fallback for a tile.
    [[nodiscard]] bool drawn() const { return tau_ > 0; }

    /// Whether the caller gave them: they have no values in a border.
    [[nodiscard]] bool given() const { return options_.latents != nullptr; }

    /// The values of z1 … zL on a window.
    [[nodiscard]] std::vector<std::vector<float>> window(const Span& y, const Span& x) const;

  private:
    const std::vector<Level>& levels_;
    const UpscaleOptions& options_;
    double tau_ = 0;
};

/// The inputs of an inverse graph: `planes` as lr, and `latents` as z1 … zL, which may be empty.
std::vector<Feed> inverse_feeds(const std::vector<Level>& levels, const Span& y, const Span& x,
                                const std::vector<float>& planes,
                                const std::vector<std::vector<float>>& latents);

}  // namespace hcflow
