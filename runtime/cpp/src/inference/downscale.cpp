#include "inference/downscale.hpp"

#include <algorithm>

#include "core/cancel.hpp"
#include "core/error.hpp"
#include "image/colour_spread.hpp"
#include "image/neutral.hpp"
#include "image/padding.hpp"
#include "image/pixels.hpp"
#include "inference/fallback.hpp"
#include "inference/plan.hpp"
#include "tiling/seams.hpp"

namespace hcflow {
namespace {

/// Copies a window's core into the latent of the whole image.
void copy_core(const Tensor& output, const Level& level, const Span& y, const Span& x,
               Latent& whole) {
    const std::size_t f = level.factor;
    const std::size_t height = f * y.window(), width = f * x.window();
    for (std::size_t c = 0; c < whole.channels; ++c)
        for (std::size_t row = f * y.start; row < f * y.stop; ++row) {
            const float* from = output.values.get() +
                                (c * height + row - f * y.start + f * y.offset()) * width +
                                f * x.offset();
            std::copy(from, from + f * (x.stop - x.start),
                      whole.values.data() + (c * whole.height + row) * whole.width + f * x.start);
        }
}

/// The alpha of a core: the means of blocks of the padded image.
Plane downscaled_alpha(const ConstView& in, std::size_t scale, const Span& y, const Span& x) {
    const Plane blocks =
        read_alpha(in, reflected_indices(scale * y.start, scale * y.stop, in.height),
                   reflected_indices(scale * x.start, scale * x.stop, in.width));
    const std::size_t height = y.stop - y.start, width = x.stop - x.start;
    return resample(blocks, Resampling(blocks.height, height, Filter::box),
                    Resampling(blocks.width, width, Filter::box), 0, 0, height, width);
}

/// lr of one window and, if `latents`, z1 … zL after it: by the graph, else by the fp32 graph.
std::vector<Tensor> run_tile(Network& network, const Graph& graph, const Tile& tile,
                             const std::vector<float>& planes, bool latents, Report* report) {
    const std::size_t scale = network.manifest().scale;
    const std::size_t height = tile.y.window(), width = tile.x.window();
    const Feed hr = {"hr", {1, 3, scale * height, scale * width}, planes.data()};
    std::vector<std::pair<std::string, Shape>> wanted = {{"lr", {1, 3, height, width}}};
    if (latents)
        for (const Level& level : network.manifest().levels)
            wanted.emplace_back(latent_name(wanted.size() - 1), level.shape(height, width));
    std::vector<Attempt> attempts;
    for (const Graph* each : network.with_fp32_fallback(graph))
        attempts.push_back({to_string(each->precision), each,
                            [&, each] { return network.run(*each, {hr}, wanted); }});
    return first_valid(attempts, tile, report);
}

}  // namespace

Size downscaled_size(Size hr, std::size_t scale) {
    return {(hr.width + scale - 1) / scale, (hr.height + scale - 1) / scale};
}

void downscale_into(Network& network, const ConstView& image, View result,
                    const DownscaleOptions& options, Latents* latents) {
    const ConstView in = checked(image, "image", true);
    result.stride = checked(result, "result", false).stride;
    const Manifest& manifest = network.manifest();
    const std::size_t scale = manifest.scale;
    const Size lr = downscaled_size({in.width, in.height}, scale);
    check_result(result, lr, in.channels);
    const WantedGrid wanted{options.tiling, latents == nullptr};
    const Graph& graph = choose(network, Direction::forward, latents != nullptr, lr, wanted);
    if (latents != nullptr && !graph.latents)
        throw_error(ErrorCode::parameter, "bundle '", manifest.name, "' was built without latents");

    Network::MemoryBudget budget(network, graph);
    const Grid grid = reserve_plan(
        network, graph, make_plan(graph, scale, budget.available(), lr, wanted, options.report),
        wanted, options.report);
    // Of gray only the luma is kept anyway; with latents the round trip is exact.
    const std::optional<ColourMap> colours =
        in.channels >= 3 && latents == nullptr
            ? std::make_optional<ColourMap>(in, scale, options.cancel)
            : std::nullopt;
    Seams seams(grid, 1, options.report);
    const auto step = static_cast<std::int64_t>(scale);
    for (std::size_t i = 0; i < grid.count(); ++i) {
        check_cancelled(options.cancel);
        const Tile tile = grid.tile(i);
        const Span &y = tile.y, &x = tile.x;
        const std::vector<float> planes = read_visible_colour(
            in, source_indices(step * y.window_start, step * y.window_stop, in.height, scale),
            source_indices(step * x.window_start, step * x.window_stop, in.width, scale));
        const std::vector<Tensor> outputs =
            run_tile(network, graph, tile, planes, latents != nullptr, options.report);
        seams.add(tile, outputs[0]);

        const std::optional<Plane> alpha =
            has_alpha(in) ? std::make_optional(downscaled_alpha(in, scale, y, x)) : std::nullopt;
        const std::size_t rows = y.stop - y.start, columns = x.stop - x.start;
        const std::optional<Plane> kept =
            colours ? std::make_optional(colours->kept(y.start, x.start, rows, columns, 1))
                    : std::nullopt;
        write_pixels(result, y.start, x.start, rows, columns,
                     colour_at(outputs[0], y.offset(), x.offset()),
                     {alpha ? &*alpha : nullptr, kept ? &*kept : nullptr});
        if (latents != nullptr)
            for (std::size_t level = 0; level < latents->size(); ++level)
                copy_core(outputs[level + 1], manifest.levels[level], y, x, (*latents)[level]);
    }
    note_run(budget, graph, grid);
}

}  // namespace hcflow
