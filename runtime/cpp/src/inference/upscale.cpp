#include "inference/upscale.hpp"

#include <algorithm>
#include <numeric>

#include "core/cancel.hpp"
#include "core/error.hpp"
#include "image/colour_spread.hpp"
#include "image/neutral.hpp"
#include "image/pixels.hpp"
#include "inference/fallback.hpp"
#include "inference/latent_source.hpp"
#include "inference/plan.hpp"
#include "tiling/seams.hpp"

namespace hcflow {
namespace {

std::vector<std::size_t> indices(std::size_t start, std::size_t stop) {
    std::vector<std::size_t> places(stop - start);
    std::iota(places.begin(), places.end(), start);
    return places;
}

/// The alpha plane of an image, upscaled on demand.
class UpscaledAlpha {
  public:
    UpscaledAlpha(const ConstView& view, std::size_t scale)
        : plane_(read_alpha(view, indices(0, view.height), indices(0, view.width))),
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

/// hr of one window: by the graph, else by the fp32 graph, else at tau = 0.
Tensor run_tile(Network& network, const Graph& graph, const LatentSource& source, const Tile& tile,
                const std::vector<float>& planes, Report* report) {
    using Values = std::vector<std::vector<float>>;
    const std::size_t scale = network.manifest().scale;
    const std::vector<const Graph*> graphs = network.with_fp32_fallback(graph);
    const Graph* exact = graphs.back();
    const Values latents =
        graph.latents || exact->latents ? source.window(tile.y, tile.x) : Values{};
    const Values none;
    const auto run = [&](const Graph& by, const Values& values) {
        const std::vector<Feed> feeds = inverse_feeds(network.manifest().levels, tile.y, tile.x,
                                                      planes, by.latents ? values : none);
        return network.run(by, feeds,
                           {{"hr", {1, 3, scale * tile.y.window(), scale * tile.x.window()}}});
    };
    std::vector<Attempt> attempts;
    for (const Graph* each : graphs)
        if (!source.needed() || each->latents)
            attempts.push_back(
                {to_string(each->precision), each, [&, each] { return run(*each, latents); }});
    if (source.drawn())
        attempts.push_back({to_string(exact->precision) + " at tau = 0", exact, [&] {
                                Values zeros;
                                for (const auto& z : latents) zeros.emplace_back(z.size());
                                return run(*exact, zeros);
                            }});
    return first_valid(attempts, tile, report).front();
}

}  // namespace

void upscale_into(Network& network, const ConstView& image, View result,
                  const UpscaleOptions& options) {
    const ConstView in = checked(image, "image", true);
    result.stride = checked(result, "result", false).stride;
    const Manifest& manifest = network.manifest();
    const std::size_t scale = manifest.scale;
    const Size lr{in.width, in.height};
    // The result's size is the wanted size; if options.size is given as well, both must agree.
    const Size size =
        target_size(lr, scale, options.size.value_or(Size{result.width, result.height}));
    check_result(result, size, in.channels);

    const LatentSource source(manifest, options, lr);
    const WantedGrid wanted{options.tiling, !source.given()};
    const Graph& graph = choose(network, Direction::inverse, source.needed(), lr, wanted);
    if (source.needed() && !graph.latents)
        throw_error(ErrorCode::parameter, "'", graph.file,
                    "' was built for tau = 0: it takes neither another tau nor latents");
    const std::optional<UpscaledAlpha> alpha =
        has_alpha(in) ? std::make_optional<UpscaledAlpha>(in, scale) : std::nullopt;
    Network::MemoryBudget budget(network, graph);
    const Grid grid = reserve_plan(
        network, graph, make_plan(graph, scale, budget.available(), lr, wanted, options.report),
        wanted, options.report);
    // Of gray only the luma is kept anyway; with given latents the round trip is exact.
    const std::optional<ColourMap> colours =
        in.channels >= 3 && options.latents == nullptr
            ? std::make_optional<ColourMap>(in, 1, options.cancel)
            : std::nullopt;
    Seams seams(grid, scale, options.report);
    for (std::size_t i = 0; i < grid.count(); ++i) {
        check_cancelled(options.cancel);
        const Tile tile = grid.tile(i);
        const Span &y = tile.y, &x = tile.x;
        const std::vector<float> planes =
            read_visible_colour(in, source_indices(y.window_start, y.window_stop, in.height),
                                source_indices(x.window_start, x.window_stop, in.width));
        const Tensor hr = run_tile(network, graph, source, tile, planes, options.report);
        seams.add(tile, hr);

        const std::size_t top = scale * y.start, left = scale * x.start;
        // The last tiles may end, but never begin, beyond the wanted size.
        const std::size_t rows = std::min(scale * y.stop, size.height) - top;
        const std::size_t columns = std::min(scale * x.stop, size.width) - left;
        const std::optional<Plane> part =
            alpha ? std::make_optional(alpha->at(top, left, rows, columns)) : std::nullopt;
        const std::optional<Plane> kept =
            colours ? std::make_optional(colours->kept(top, left, rows, columns, scale))
                    : std::nullopt;
        write_pixels(result, top, left, rows, columns,
                     colour_at(hr, scale * y.offset(), scale * x.offset()),
                     {part ? &*part : nullptr, kept ? &*kept : nullptr});
    }
    note_run(budget, graph, grid);
}

}  // namespace hcflow
