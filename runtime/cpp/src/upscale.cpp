#include "upscale.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "fail.hpp"
#include "grid.hpp"
#include "latents.hpp"
#include "pixels.hpp"

namespace hcflow {
namespace {

std::vector<std::size_t> range(std::size_t start, std::size_t stop) {
    std::vector<std::size_t> places(stop - start);
    std::iota(places.begin(), places.end(), start);
    return places;
}

/// A window of a given latent.
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
        fail(ErrorCode::parameter, given.size(), " latents given: this model takes z1 to z",
             levels.size());
    for (std::size_t i = 0; i < given.size(); ++i) {
        const Latent& z = given[i];
        const std::size_t channels = levels[i].channels;
        const std::size_t height = lr.height * levels[i].factor,
                          width = lr.width * levels[i].factor;
        if (z.channels != channels || z.height != height || z.width != width ||
            z.values.size() != channels * height * width)
            fail(ErrorCode::parameter, "latent z", i + 1, " is [", z.channels, ", ", z.height, ", ",
                 z.width, "] with ", z.values.size(), " values: it must be [", channels, ", ",
                 height, ", ", width, "] for this image");
        if (!std::all_of(z.values.begin(), z.values.end(),
                         [](float v) { return std::isfinite(v); }))
            fail(ErrorCode::parameter, "latent z", i + 1, " has NaN or infinity in it");
    }
}

/// How the latents of a run come about.
class LatentSource {
  public:
    LatentSource(const Manifest& manifest, const UpscaleOptions& options, Size lr)
        : levels_(manifest.levels), options_(options) {
        if (options.latents != nullptr) {
            if (options.tau || options.sample != 0)
                fail(ErrorCode::parameter,
                     "latents take the place of tau and sample: give one or the other");
            check_latents(*options.latents, levels_, lr);
            return;
        }
        tau_ = options.tau.value_or(manifest.default_tau);
        check_tau(tau_);
        if (tau_ > 0 && manifest.latent_scheme != kLatentScheme)
            fail(ErrorCode::bundle, "bundle '", manifest.name, "' draws latents by '",
                 manifest.latent_scheme, "', this library by '", kLatentScheme,
                 "': upgrade hcflow, or give latents");
    }

    /// Whether the graph must take latents for what was asked.
    [[nodiscard]] bool needed() const { return tau_ > 0 || options_.latents != nullptr; }

    /// z1 … zL of a window, each in `values`, by which they live.
    void feed(const Span& y, const Span& x, std::vector<std::vector<float>>& values,
              std::vector<Feed>& feeds) const {
        values.resize(levels_.size());
        for (std::size_t i = 0; i < levels_.size(); ++i) {
            const auto [channels, factor] = levels_[i];
            const std::size_t top = y.window_start * factor, left = x.window_start * factor;
            const std::size_t height = y.window() * factor, width = x.window() * factor;
            values[i] =
                options_.latents != nullptr
                    ? crop((*options_.latents)[i], top, left, height, width)
                    : draw_latent(options_.seed, options_.sample, static_cast<std::uint32_t>(i + 1),
                                  channels, {top, left, height, width}, tau_);
            feeds.push_back({text("z", i + 1), {1, channels, height, width}, values[i].data()});
        }
    }

  private:
    const std::vector<Level>& levels_;
    const UpscaleOptions& options_;
    double tau_ = 0;
};

/// The alpha plane of an image, enlarged where it is asked for.
class EnlargedAlpha {
  public:
    EnlargedAlpha(const ConstView& view, std::size_t scale)
        : plane_(read_alpha(view, range(0, view.height), range(0, view.width))),
          vertical_(view.height, view.height * scale, Filter::bicubic),
          horizontal_(view.width, view.width * scale, Filter::bicubic) {}

    [[nodiscard]] Plane at(std::size_t top, std::size_t left, std::size_t height,
                           std::size_t width) const {
        return resample(plane_, vertical_, horizontal_, top, left, height, width);
    }

  private:
    Plane plane_;
    Resampling vertical_, horizontal_;
};

}  // namespace

void upscale_into(Network& network, const ConstView& image, View result,
                  const UpscaleOptions& options) {
    const ConstView in = checked(image, "image", true);
    result.stride = checked(result, "result", false).stride;
    const Manifest& manifest = network.manifest();
    const std::size_t scale = manifest.scale;
    const Size lr{in.width, in.height};
    // The result's size is the wanted one; where it was also said, both must agree.
    const Size size =
        target_size(lr, scale, options.size.value_or(Size{result.width, result.height}));
    if (size.width != result.width || size.height != result.height ||
        result.channels != in.channels)
        fail(ErrorCode::parameter, "result is ", result.width, "x", result.height, " with ",
             result.channels, " channels: it must be ", size.width, "x", size.height, " with ",
             in.channels);

    const LatentSource latents(manifest, options, lr);
    const Graph& graph = network.graph(Direction::inverse, latents.needed());
    if (latents.needed() && !graph.latents)
        fail(ErrorCode::parameter, "'", graph.file,
             "' was built for tau = 0: it takes neither another tau nor latents");
    const std::optional<EnlargedAlpha> alpha =
        has_alpha(in) ? std::make_optional<EnlargedAlpha>(in, scale) : std::nullopt;
    const Grid grid = make_grid(lr, graph, options.tiling);
    for (const Span& y : grid.rows)
        for (const Span& x : grid.columns) {
            const std::vector<float> planes = read_colour(in, range(y.window_start, y.window_stop),
                                                          range(x.window_start, x.window_stop));
            std::vector<Feed> feeds = {{"lr", {1, 3, y.window(), x.window()}, planes.data()}};
            std::vector<std::vector<float>> values;
            if (graph.latents) latents.feed(y, x, values, feeds);
            const std::size_t height = scale * y.window(), width = scale * x.window();
            const std::vector<Tensor> outputs =
                network.run(graph, feeds, {{"hr", {1, 3, height, width}}}, y.window(), x.window());

            const std::size_t top = scale * y.start, left = scale * x.start;
            // The last tiles may end beyond the wanted size, but never start there.
            const std::size_t rows = std::min(scale * y.stop, size.height) - top;
            const std::size_t columns = std::min(scale * x.stop, size.width) - left;
            const float* core = outputs[0].values.get() +
                                scale * (y.start - y.window_start) * width +
                                scale * (x.start - x.window_start);
            const std::optional<Plane> part =
                alpha ? std::make_optional(alpha->at(top, left, rows, columns)) : std::nullopt;
            write_pixels(result, top, left, rows, columns, {core, height * width, width},
                         part ? &*part : nullptr);
        }
}

}  // namespace hcflow
