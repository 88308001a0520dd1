// A bundle's network on a backend: float tensors in, float tensors out, nothing clipped.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "backend.hpp"
#include "bundle.hpp"
#include "machine.hpp"

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
    [[nodiscard]] std::vector<const Graph*> with_exact(const Graph& graph) const;

    /// Bytes that a run of a graph may take: those free, and those that its earlier runs hold and
    /// use again; none where nothing tells.
    std::optional<double> available(const Graph& graph);
    /// Note that a run took so many bytes, which are kept.
    void hold(const Graph& graph, double bytes);

    /// Outputs of a graph: those of `wanted` first, of the shapes given, then all others. Their
    /// numbers are not looked at. Throws Error (backend, bundle).
    std::vector<Tensor> run(const Graph& graph, const std::vector<Feed>& feeds,
                            const std::vector<std::pair<std::string, Shape>>& wanted);

  private:
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
    std::map<std::string, double> held_;  // bytes
};

}  // namespace hcflow
