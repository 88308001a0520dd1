#include "network.hpp"

#include <algorithm>

#include "fail.hpp"
#include "machine.hpp"

namespace hcflow {
namespace {

// Peak memory of a run / live activations, as in runtime/memory.py.
constexpr double kMemoryOverhead = 2.0;

double needed(const Graph& graph, Size window) {
    return static_cast<double>(graph.bytes_per_lr_pixel) * kMemoryOverhead *
           static_cast<double>(window.height) * static_cast<double>(window.width);
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
      cache_(options.cache),
      gpu_(options.gpu) {}

const Graph& Network::graph(Direction direction, bool latents) const {
    return bundle_.graph(direction, precision_, latents);
}

Session& Network::session(const Graph& graph) {
    const std::lock_guard<std::mutex> lock(opening_);
    std::unique_ptr<Session>& session = sessions_[graph.file];
    if (!session) session = open_({bundle_, graph, threads_, cache_, gpu_});
    return *session;
}

std::vector<const Graph*> Network::with_exact(const Graph& graph) const {
    std::vector<const Graph*> graphs = {&graph};
    if (graph.precision != Precision::fp32 && bundle_.has(graph.direction, Precision::fp32))
        graphs.push_back(&bundle_.graph(graph.direction, Precision::fp32, graph.latents));
    return graphs;
}

void Network::check_memory(const Graph& graph, Size window) {
    const auto available = available_memory();
    if (!available) return;
    const std::lock_guard<std::mutex> lock(holding_);
    const double have = static_cast<double>(*available) + held_[graph.file];
    const double need = needed(graph, window);
    if (need > have)
        fail(ErrorCode::image, "a low-resolution size of ", window.width, "x", window.height,
             " needs about ", need / 1e9, " GB of memory and ", have / 1e9,
             " GB are free: give a tiling, or a smaller image");
}

void Network::hold(const Graph& graph, Size window) {
    const std::lock_guard<std::mutex> lock(holding_);
    double& held = held_[graph.file];
    held = std::max(held, needed(graph, window));
}

std::vector<Tensor> Network::run(const Graph& graph, const std::vector<Feed>& feeds,
                                 const std::vector<std::pair<std::string, Shape>>& wanted) {
    std::vector<Tensor> outputs = session(graph).run(feeds);
    auto next = outputs.begin();
    for (const auto& [name, shape] : wanted) {
        const auto has_name = [&n = name](const Tensor& each) { return each.name == n; };
        const auto found = std::find_if(next, outputs.end(), has_name);
        if (found == outputs.end())
            fail(ErrorCode::backend, "'", graph.file, "' gave no '", name, "' on ", backend_);
        if (found->shape != shape)
            fail(ErrorCode::backend, "'", graph.file, "' gave '", name, "' as ",
                 describe(found->shape), " on ", backend_, ": it must be ", describe(shape));
        std::iter_swap(next++, found);
    }
    return outputs;
}

}  // namespace hcflow
