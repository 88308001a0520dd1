// A bundle's network on a backend: float tensors in, float tensors out, nothing clipped.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "bundle/bundle.hpp"
#include "core/machine.hpp"
#include "session.hpp"

namespace hcflow {

/// Both directions of one bundle; every method may be called from many threads.
class Network {
  public:
    /// Tells how much memory can be allocated, in bytes.
    using MemoryReader = std::optional<std::uint64_t> (*)();

    Network(Bundle bundle, Opener open, std::string backend, const Options& options,
            MemoryReader memory = available_memory);

    [[nodiscard]] const Manifest& manifest() const { return bundle_.manifest(); }
    [[nodiscard]] const std::string& backend() const { return backend_; }

    /// What images may be computed in; tensors of the caller's take the first.
    [[nodiscard]] const std::vector<Precision>& precisions() const { return precisions_; }

    /// The graph of a direction in a precision. Throws Error (bundle).
    [[nodiscard]] const Graph& graph(Direction direction, bool latents, Precision precision) const;

    /// Read, check and load a graph, if that has not been done. Throws Error (bundle, backend).
    Session& session(const Graph& graph);

    /// Load every graph that images may be computed by. Throws Error (bundle, backend).
    void load_all();

    /// The graph and, for one below fp32, the fp32 graph that can take its place, if there is one.
    [[nodiscard]] std::vector<const Graph*> with_fp32_fallback(const Graph& graph) const;

    /// An image's budget on a graph, from before its plan to its end.
    class MemoryBudget;

    /// Outputs of a graph: those of `wanted` first, of the shapes given, then all others. Their
    /// numbers are not looked at. Throws Error (backend, bundle).
    std::vector<Tensor> run(const Graph& graph, const std::vector<Feed>& feeds,
                            const std::vector<std::pair<std::string, Shape>>& wanted);

  private:
    struct Use {
        double held = 0;  // bytes
        int runs = 0;
    };

    Bundle bundle_;
    Opener open_;
    std::string backend_;
    std::vector<Precision> precisions_;
    int threads_;
    std::string cache_;
    int gpu_;
    MemoryReader memory_;
    std::mutex opening_;
    std::map<std::string, std::unique_ptr<Session>> sessions_;
    std::mutex holding_;
    std::map<std::string, Use> uses_;
};

class Network::MemoryBudget {
  public:
    MemoryBudget(Network& network, const Graph& graph);
    MemoryBudget(const MemoryBudget&) = delete;
    MemoryBudget& operator=(const MemoryBudget&) = delete;
    ~MemoryBudget();

    /// Bytes that it may take: those free and, unless another budget had them already, those that
    /// earlier ones hold and this one uses again; none where nothing tells.
    [[nodiscard]] std::optional<double> available() const;
    /// Note that it took so many bytes, which are kept.
    void record(double bytes);

  private:
    Network& network_;
    Use* use_;
    double reused_;
};

}  // namespace hcflow
