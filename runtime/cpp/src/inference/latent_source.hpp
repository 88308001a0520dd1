// How the latents of a run come about: drawn by place, given by the caller, or none.
#pragma once

#include <vector>

#include "bundle/manifest.hpp"
#include "core/tensor.hpp"
#include "tiling/grid.hpp"

namespace hcflow {

class LatentSource {
  public:
    /// For an LR image of this size. Throws Error (parameter): tau or latents that cannot be used;
    /// (bundle): a scheme that this library does not draw by.
    LatentSource(const Manifest& manifest, const UpscaleOptions& options, Size lr);

    /// Whether the graph must take latents for what was asked.
    [[nodiscard]] bool needed() const { return tau_ > 0 || options_.latents != nullptr; }
    /// Whether they are drawn, so that a tile may be drawn again without them.
    [[nodiscard]] bool drawn() const { return tau_ > 0; }

    /// The values of z1 … zL on a window.
    [[nodiscard]] std::vector<std::vector<float>> window(const Span& y, const Span& x) const;

  private:
    const std::vector<Level>& levels_;
    const UpscaleOptions& options_;
    double tau_ = 0;
};

/// The inputs of an inverse graph: `planes` as lr, and z1 … zL if there are any.
std::vector<Feed> inverse_feeds(const std::vector<Level>& levels, const Span& y, const Span& x,
                                const std::vector<float>& planes,
                                const std::vector<std::vector<float>>& latents);

}  // namespace hcflow
