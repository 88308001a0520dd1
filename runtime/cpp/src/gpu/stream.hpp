// One CUDA stream with its execution contexts (runtime/backends/tensorrt_stream.py).
//
// A captured graph contains addresses, so each input shape has a context, buffers and a graph of
// its own, and graphs are dropped when memory that they use moves. The contexts share scratch
// memory as they run one after another.
#pragma once

#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/tensor.hpp"
#include "gpu/device.hpp"
#include "gpu/library.hpp"

namespace hcflow::gpu {

/// Shapes of the inputs by name.
using Shapes = std::map<std::string, Shape>;
Shapes shapes_of(const std::vector<Feed>& feeds);
/// Device addresses of inputs and outputs by name.
using Addresses = std::map<std::string, Address>;

/// Runs an engine on one stream, one run at a time; callers must take turns. A CurrentDevice must
/// exist in every call, constructor and destructor included.
class EngineStream {
  public:
    /// How many shapes keep buffers and graph; the least recently used one is dropped.
    static constexpr std::size_t kMostShapes = 8;

    /// What the addresses of an engine's inputs and outputs must be multiples of, in bytes.
    static constexpr std::size_t kAlignment = 256;

    /// `profile` returns the engine's profile for shapes, or throws.
    EngineStream(Engine& engine, std::function<std::size_t(const Shapes&)> profile);
    EngineStream(const EngineStream&) = delete;
    EngineStream& operator=(const EngineStream&) = delete;
    ~EngineStream();

    /// Takes the memory that a run on host values of these shapes needs. Throws OutOfGpuMemory:
    /// there is not enough, even without what other shapes keep; Error (backend).
    void reserve(const Shapes& inputs);
    /// Runs on host values and waits for the outputs. Throws as `reserve`.
    std::vector<Tensor> run(const std::vector<Feed>& feeds);
    /// The shapes of the outputs for these shapes of the inputs. Throws as `reserve`.
    Shapes output_shapes(const Shapes& inputs);
    /// Enqueues a run on device addresses in the caller's stream and returns at once. Tensors whose
    /// address is no multiple of kAlignment are copied on the GPU. Throws as `reserve`.
    void enqueue(const Shapes& inputs, const Addresses& addresses, Handle stream);

    /// Frees the memory of every shape; waits for what is running.
    void clear();

  private:
    /// Context, buffers and graph of one set of input shapes.
    struct Plan {
        Shapes inputs;
        Shapes outputs;
        std::unique_ptr<Context> context;
        std::map<std::string, DeviceBuffer> device;  // allocated when a run needs them
        std::map<std::string, PinnedBuffer> host;
        bool eager = false;    // the context's kernels are compiled before its first run
        bool has_run = false;  // the context
        // Runs on host values since the context was made or scratch memory moved: the first is
        // plain, the second is captured.
        std::size_t runs = 0;
        std::optional<CapturedGraph> graph;
        bool capturable = true;
    };

    template <typename Work>
    auto with_memory(const Work& work) -> decltype(work());
    Plan& plan(const Shapes& inputs);
    Plan& ready(const Shapes& inputs);
    Plan& staged(const Shapes& inputs);
    std::unique_ptr<Context> prepare(const Shapes& inputs, bool eager);
    void give_scratch(Context& context);
    static void allocate_buffers(Plan& plan);
    static DeviceBuffer& device_buffer(Plan& plan, const std::string& name);
    void note_run(Plan& plan);
    void capture(Plan& plan);
    void submit(Plan& plan);
    static void execute(Plan& plan, const Addresses& addresses, Handle stream);
    void wait_for_last_run(Handle stream) const;
    void synchronise();

    Engine& engine_;
    std::function<std::size_t(const Shapes&)> profile_;
    Stream stream_;
    Event idle_;
    std::optional<DeviceBuffer> scratch_;
    std::list<Plan> plans_;                           // most recently used first
    std::vector<std::unique_ptr<Context>> replaced_;  // that runs on the GPU may still use
};

}  // namespace hcflow::gpu
