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

    /// Outputs of a graph: those of `names`, of the shapes given and finite.
    /// Throws Error: backend, bundle; image: not enough memory for such a window of LR pixels.
    std::vector<Tensor> run(const Graph& graph, const std::vector<Feed>& feeds,
                            const std::vector<std::pair<std::string, Shape>>& wanted,
                            std::size_t lr_height, std::size_t lr_width);

  private:
    Bundle bundle_;
    Opener open_;
    std::string backend_;
    Precision precision_;
    int threads_;
    std::string cache_;
    std::mutex opening_;
    std::map<std::string, std::unique_ptr<Session>> sessions_;
};

}  // namespace hcflow
