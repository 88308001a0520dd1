#include "network.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "fail.hpp"
#include "machine.hpp"

namespace hcflow {
namespace {

// Peak memory of a run / live activations, as in runtime/memory.py.
constexpr double kMemoryOverhead = 2.0;

void check_memory(const Graph& graph, std::size_t height, std::size_t width) {
    const double need = static_cast<double>(graph.bytes_per_lr_pixel) * kMemoryOverhead *
                        static_cast<double>(height) * static_cast<double>(width);
    const auto have = available_memory();
    if (have && need > static_cast<double>(*have))
        fail(ErrorCode::image, "a low-resolution size of ", width, "x", height, " needs about ",
             need / 1e9, " GB of memory and ", static_cast<double>(*have) / 1e9,
             " GB are free: give a tiling, or a smaller image");
}

bool all_finite(const float* values, std::size_t count) {
    // In the bits and without a branch, so that compilers vectorise it.
    constexpr std::uint32_t kExponent = 0x7F800000U;
    std::uint32_t bad = 0;
    for (std::size_t i = 0; i < count; ++i) {
        std::uint32_t bits = 0;
        std::memcpy(&bits, values + i, sizeof bits);
        bad |= static_cast<std::uint32_t>((bits & kExponent) == kExponent);
    }
    return bad == 0;
}

std::string describe(const Shape& shape) {
    std::string all;
    for (const std::size_t side : shape) all += text(all.empty() ? "" : ", ", side);
    return "[" + all + "]";
}

}  // namespace

Network::Network(Bundle bundle, Opener open, std::string backend, const Options& options)
    : bundle_(std::move(bundle)),
      open_(open),
      backend_(std::move(backend)),
      precision_(options.precision),
      threads_(options.threads > 0 ? options.threads : usable_cpus()),
      cache_(options.cache) {}

const Graph& Network::graph(Direction direction, bool latents) const {
    return bundle_.graph(direction, precision_, latents);
}

Session& Network::session(const Graph& graph) {
    const std::lock_guard<std::mutex> lock(opening_);
    std::unique_ptr<Session>& session = sessions_[graph.file];
    if (!session) session = open_({bundle_, graph, threads_, cache_});
    return *session;
}

std::vector<Tensor> Network::run(const Graph& graph, const std::vector<Feed>& feeds,
                                 const std::vector<std::pair<std::string, Shape>>& wanted,
                                 std::size_t lr_height, std::size_t lr_width) {
    check_memory(graph, lr_height, lr_width);
    std::vector<Tensor> given = session(graph).run(feeds);
    std::vector<Tensor> outputs;
    for (const auto& [name, shape] : wanted) {
        const auto has_name = [&n = name](const Tensor& each) { return each.name == n; };
        const auto found = std::find_if(given.begin(), given.end(), has_name);
        if (found == given.end())
            fail(ErrorCode::backend, "'", graph.file, "' gave no '", name, "' on ", backend_);
        if (found->shape != shape)
            fail(ErrorCode::backend, "'", graph.file, "' gave '", name, "' as ",
                 describe(found->shape), " on ", backend_, ": it must be ", describe(shape));
        if (!all_finite(found->values.get(), elements(shape)))
            fail(ErrorCode::backend, "'", graph.file, "' gave NaN or infinity in '", name, "' on ",
                 backend_, ": try precision fp32, and 'hcflow verify' on the bundle");
        outputs.push_back(std::move(*found));
    }
    return outputs;
}

}  // namespace hcflow
