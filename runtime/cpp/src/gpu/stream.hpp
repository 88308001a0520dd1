// One stream with its contexts: buffers made once a shape, one captured graph a shape.
//
// A captured graph holds addresses, so each shape has a context and buffers of its own, and
// whatever moves memory drops the graphs that knew it. Scratch memory is one for the stream: its
// contexts run one after another (runtime/backends/tensorrt_lane.py).
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

/// Runs an engine on one stream, one run at a time; callers take turns. Its GPU must be
/// `CurrentDevice` in every call, and where it is made and given back.
class EngineStream {
  public:
    /// Shapes whose buffers and graph a stream keeps; the one unused for longest goes.
    static constexpr std::size_t kMostShapes = 8;

    /// `profile` gives the engine's profile for shapes, or throws.
    EngineStream(Engine& engine, std::function<std::size_t(const Shapes&)> profile);
    EngineStream(const EngineStream&) = delete;
    EngineStream& operator=(const EngineStream&) = delete;
    ~EngineStream();

    /// Host values in, host values out; returns when they are there. Throws Error (backend).
    std::vector<Tensor> run(const std::vector<Feed>& feeds);
    /// Shapes of the outputs for these of the inputs.
    Shapes output_shapes(const Shapes& inputs);
    /// Put a run on these addresses into a stream of the caller's, and do not wait.
    void enqueue(const Shapes& inputs, const Addresses& addresses, Handle stream);

    [[nodiscard]] std::size_t shapes_kept() const { return plans_.size(); }

  private:
    /// Everything that one set of input shapes needs.
    struct Plan {
        Shapes inputs;
        Shapes outputs;
        std::unique_ptr<Context> context;
        std::map<std::string, DeviceBuffer> device;  // made when host values first come
        std::map<std::string, PinnedBuffer> host;
        std::size_t runs = 0;  // of host values: the first warms up, the second is captured
        std::optional<CapturedGraph> graph;
        bool capturable = true;
    };

    Plan& plan(const Shapes& inputs);
    Plan prepare(const Shapes& inputs);
    void give_scratch(Plan& plan);
    static void allocate_buffers(Plan& plan);
    void capture(Plan& plan);
    void submit(Plan& plan);
    static void execute(Plan& plan, const Addresses& addresses, Handle stream);
    void wait_for_last_run(Handle stream);
    void synchronise() const;

    Engine& engine_;
    std::function<std::size_t(const Shapes&)> profile_;
    Stream stream_;
    Event idle_;
    Handle last_;
    std::optional<DeviceBuffer> scratch_;
    std::list<Plan> plans_;  // the one used last is in front
};

}  // namespace hcflow::gpu
