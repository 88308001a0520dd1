#include "inference/latent_source.hpp"

#include <algorithm>
#include <cmath>

#include "bundle/json_reader.hpp"
#include "core/error.hpp"
#include "latents.hpp"

namespace hcflow {
namespace {

/// A window of a latent of the caller's.
std::vector<float> crop(const Latent& z, std::size_t top, std::size_t left, std::size_t height,
                        std::size_t width) {
    std::vector<float> values;
    values.reserve(z.channels * height * width);
    for (std::size_t c = 0; c < z.channels; ++c)
        for (std::size_t y = top; y < top + height; ++y) {
            const float* row = z.values.data() + (c * z.height + y) * z.width + left;
            values.insert(values.end(), row, row + width);
        }
    return values;
}

void check_latents(const Latents& given, const std::vector<Level>& levels, Size lr) {
    if (given.size() != levels.size())
        throw_error(ErrorCode::parameter, given.size(), " latents given: this model takes z1 to z",
                    levels.size());
    for (std::size_t i = 0; i < given.size(); ++i) {
        const Latent& z = given[i];
        const std::size_t channels = levels[i].channels;
        const std::size_t height = lr.height * levels[i].factor,
                          width = lr.width * levels[i].factor;
        if (z.channels != channels || z.height != height || z.width != width ||
            z.values.size() != channels * height * width)
            throw_error(ErrorCode::parameter, "latent z", i + 1, " is [", z.channels, ", ",
                        z.height, ", ", z.width, "] with ", z.values.size(),
                        " values: it must be [", channels, ", ", height, ", ", width,
                        "] for this image");
        if (!std::all_of(z.values.begin(), z.values.end(),
                         [](float v) { return std::isfinite(v); }))
            throw_error(ErrorCode::parameter, "latent z", i + 1, " contains NaN or infinity");
    }
}

}  // namespace

LatentSource::LatentSource(const Manifest& manifest, const UpscaleOptions& options, Size lr)
    : levels_(manifest.levels), options_(options) {
    if (options.latents != nullptr) {
        if (options.tau || options.sample != 0)
            throw_error(ErrorCode::parameter,
                        "latents replace tau and sample: give one or the other");
        check_latents(*options.latents, levels_, lr);
        return;
    }
    tau_ = options.tau.value_or(manifest.default_tau);
    check_tau(tau_);
    if (tau_ > 0 && manifest.latent_scheme != kLatentScheme)
        throw_error(ErrorCode::bundle, "bundle '", manifest.name, "' draws latents by '",
                    printable(manifest.latent_scheme), "', this library by '", kLatentScheme,
                    "': upgrade hcflow, or give latents");
}

std::vector<std::vector<float>> LatentSource::window(const Span& y, const Span& x) const {
    std::vector<std::vector<float>> values;
    for (std::size_t i = 0; i < levels_.size(); ++i) {
        const auto [channels, factor] = levels_[i];
        const auto step = static_cast<std::int64_t>(factor);
        const std::int64_t top = y.window_start * step, left = x.window_start * step;
        const std::size_t height = y.window() * factor, width = x.window() * factor;
        values.push_back(options_.latents != nullptr
                             ? crop((*options_.latents)[i], static_cast<std::size_t>(top),
                                    static_cast<std::size_t>(left), height, width)
                             : draw_latent(options_.seed, options_.sample,
                                           static_cast<std::uint32_t>(i + 1), channels,
                                           {top, left, height, width}, tau_));
    }
    return values;
}

std::vector<Feed> inverse_feeds(const std::vector<Level>& levels, const Span& y, const Span& x,
                                const std::vector<float>& planes,
                                const std::vector<std::vector<float>>& latents) {
    std::vector<Feed> feeds = {{"lr", {1, 3, y.window(), x.window()}, planes.data()}};
    for (std::size_t i = 0; i < latents.size(); ++i)
        feeds.push_back(
            {latent_name(i), levels[i].shape(y.window(), x.window()), latents[i].data()});
    return feeds;
}

}  // namespace hcflow
