// A bundle's network on a backend: float tensors in, float tensors out, nothing clipped.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "backend.hpp"
#include "bundle.hpp"

namespace hcflow {

/// Both directions of one bundle; every method may be called from many threads.
class Network {
  public:
    Network(Bundle bundle, Opener open, std::string backend, const Options& options);

    [[nodiscard]] const Manifest& manifest() const { return bundle_.manifest(); }
    [[nodiscard]] const std::string& backend() const { return backend_; }

    /// The graph of a direction in this network's precision. Throws Error (bundle).
    [[nodiscard]] const Graph& graph(Direction direction, bool latents) const;

    /// Read, check and load a graph, if that has not been done. Throws Error (bundle, backend).
    Session& session(const Graph& graph);

    /// The graph and, for one below fp32, the fp32 graph that can take its place, if there is one.
    [[nodiscard]] std::vector<const Graph*> with_exact(const Graph& graph) const;

    /// Throws Error (image): not enough memory for a window of so many LR pixels.
    void check_memory(const Graph& graph, Size window);
    /// Note that such a window has been run: what it took is used again for the next.
    void hold(const Graph& graph, Size window);

    /// Outputs of a graph: those of `wanted` first, of the shapes given, then all others. Their
    /// numbers are not looked at. Throws Error (backend, bundle).
    std::vector<Tensor> run(const Graph& graph, const std::vector<Feed>& feeds,
                            const std::vector<std::pair<std::string, Shape>>& wanted);

  private:
    Bundle bundle_;
    Opener open_;
    std::string backend_;
    Precision precision_;
    int threads_;
    std::string cache_;
    int gpu_;
    std::mutex opening_;
    std::map<std::string, std::unique_ptr<Session>> sessions_;
    std::mutex holding_;
    std::map<std::string, double> held_;  // bytes
};

}  // namespace hcflow
