#include "inference/network.hpp"

#include <algorithm>

#include "core/error.hpp"
#include "inference/auto_precision.hpp"

namespace hcflow {
namespace {

std::string describe(const Shape& shape) { return "[" + join(shape) + "]"; }

}  // namespace

Network::Network(Bundle bundle, Opener open, std::string backend, const Options& options,
                 MemoryReader memory)
    : bundle_(std::move(bundle)),
      open_(open),
      backend_(std::move(backend)),
      targets_(targets_of(backend_)),
      precisions_(options.precision == Precision::automatic
                      ? automatic_precisions(bundle_.manifest(), backend_, cpu_flags())
                      : std::vector<Precision>{options.precision}),
      threads_(options.threads > 0 ? options.threads : usable_cpus()),
      cache_(options.cache),
      gpu_(options.gpu),
      memory_(memory) {}

const Graph& Network::graph(Direction direction, bool latents, Precision precision) const {
    return bundle_.graph(direction, precision, latents, targets_);
}

Session& Network::session(const Graph& graph) {
    const std::lock_guard<std::mutex> lock(opening_);
    std::unique_ptr<Session>& session = sessions_[graph.file];
    if (!session) session = open_({bundle_, graph, threads_, cache_, gpu_});
    return *session;
}

void Network::reserve(const Graph& graph, Size window) {
    std::vector<std::pair<std::string, Shape>> inputs;
    if (graph.direction == Direction::forward) {
        const std::size_t scale = manifest().scale;
        inputs = {{"hr", {1, 3, scale * window.height, scale * window.width}}};
    } else {
        inputs = {{"lr", {1, 3, window.height, window.width}}};
        if (graph.latents)
            for (const Level& level : manifest().levels)
                inputs.emplace_back(latent_name(inputs.size() - 1),
                                    level.shape(window.height, window.width));
    }
    session(graph).reserve(inputs);
}

void Network::load_all() {
    for (const Precision precision : precisions_)
        for (const Graph* graph : bundle_.preferred(precision, targets_)) (void)session(*graph);
}

std::vector<const Graph*> Network::with_fp32_fallback(const Graph& graph) const {
    std::vector<const Graph*> graphs = {&graph};
    if (graph.precision != Precision::fp32 &&
        bundle_.has(graph.direction, Precision::fp32, targets_))
        graphs.push_back(&bundle_.graph(graph.direction, Precision::fp32, graph.latents, targets_));
    return graphs;
}

Network::MemoryBudget::MemoryBudget(Network& network, const Graph& graph) : network_(network) {
    const std::lock_guard<std::mutex> lock(network_.holding_);
    use_ = &network_.uses_[graph.file];
    reused_ = use_->runs++ == 0 ? use_->held : 0;
}

Network::MemoryBudget::~MemoryBudget() {
    const std::lock_guard<std::mutex> lock(network_.holding_);
    --use_->runs;
}

std::optional<double> Network::MemoryBudget::available() const {
    const std::optional<std::uint64_t> free = network_.memory_();
    if (!free) return std::nullopt;
    return static_cast<double>(*free) + reused_;
}

void Network::MemoryBudget::record(double bytes) {
    const std::lock_guard<std::mutex> lock(network_.holding_);
    use_->held = std::max(use_->held, bytes);
}

std::vector<Tensor> Network::run(const Graph& graph, const std::vector<Feed>& feeds,
                                 const std::vector<std::pair<std::string, Shape>>& wanted) {
    std::vector<Tensor> outputs = session(graph).run(feeds);
    auto next = outputs.begin();
    for (const auto& [name, shape] : wanted) {
        const auto has_name = [&n = name](const Tensor& each) { return each.name == n; };
        const auto found = std::find_if(next, outputs.end(), has_name);
        if (found == outputs.end())
            throw_error(ErrorCode::backend, "'", graph.file, "' gave no '", name, "' on ",
                        backend_);
        if (found->shape != shape)
            throw_error(ErrorCode::backend, "'", graph.file, "' gave '", name, "' as ",
                        describe(found->shape), " on ", backend_, ": it must be ", describe(shape));
        std::iter_swap(next++, found);
    }
    return outputs;
}

}  // namespace hcflow
