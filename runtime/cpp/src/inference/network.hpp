// A bundle's network on a backend (runtime/inference/network.py). Values are not clipped.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "bundle/bundle.hpp"
#include "session.hpp"
#include "system/machine.hpp"

namespace hcflow {

/// Both directions of one bundle. Every method may be called from many threads.
class Network {
  public:
    /// Returns the bytes that can be allocated; none if unknown.
    using MemoryReader = std::optional<std::uint64_t> (*)();

    Network(Bundle bundle, Opener open, std::string backend, const Options& options,
            MemoryReader memory = available_memory);

    [[nodiscard]] const Manifest& manifest() const { return bundle_.manifest(); }
    [[nodiscard]] const std::string& backend() const { return backend_; }
    /// The number of the GPU in use; -1: the backend does not run on a GPU.
    [[nodiscard]] int gpu() const { return runs_on_gpu(backend_) ? gpu_ : -1; }

    /// The precisions that images may use; device tensors use the first.
    [[nodiscard]] const std::vector<Precision>& precisions() const { return precisions_; }

    /// The graph of a direction in a precision. Throws Error (bundle).
    [[nodiscard]] const Graph& graph(Direction direction, bool latents, Precision precision) const;

    /// Reads, checks and loads a graph at its first use. Throws Error (bundle, backend).
    Session& session(const Graph& graph);

    /// Loads every graph that images may use. Throws Error (bundle, backend).
    void load_all();

    /// The graph and, if it is below fp32, the fp32 graph of its direction, if there is one.
    [[nodiscard]] std::vector<const Graph*> with_fp32_fallback(const Graph& graph) const;

    /// Takes the GPU's memory for LR windows of this size before they run. Throws
    /// gpu::OutOfGpuMemory, Error (bundle, backend).
    void reserve(const Graph& graph, Size window);

    /// The memory that one image may use, from its plan to its end.
    class MemoryBudget;

    /// Runs a graph. The outputs of `wanted` come first, with their shapes checked; their values
    /// are not checked. Throws Error (backend, bundle).
    std::vector<Tensor> run(const Graph& graph, const std::vector<Feed>& feeds,
                            const std::vector<std::pair<std::string, Shape>>& wanted);

  private:
    struct Use {
        double held = 0;  // bytes that earlier runs keep allocated
        int runs = 0;
    };

    Bundle bundle_;
    Opener open_;
    std::string backend_;
    Targets targets_;
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

    /// Bytes that the image may use: free memory and, if no other image is running on the graph,
    /// the memory that earlier runs keep allocated; none if unknown.
    [[nodiscard]] std::optional<double> available() const;
    /// Records that a run took this many bytes, which stay allocated.
    void record(double bytes);

  private:
    Network& network_;
    Use* use_;
    double reused_;
};

}  // namespace hcflow
