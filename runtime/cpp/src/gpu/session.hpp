// TensorRT and TensorRT-RTX: a bundle's engines on an NVIDIA GPU (runtime/backends/tensorrt.py).
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "../session.hpp"
#include "gpu/engine_entry.hpp"
#include "gpu/library.hpp"
#include "gpu/stream.hpp"

namespace hcflow::gpu {

/// One engine, loaded. Host values travel through pinned memory, a shape's second run is captured
/// as a CUDA graph; device pointers go in and out as they are, on the caller's stream.
class EngineSession : public Session {
  public:
    /// Streams with contexts of their own: one computes while the other's images cross the bus.
    static constexpr std::size_t kStreams = 2;

    /// The device must be `CurrentDevice`.
    EngineSession(const Device& device, std::unique_ptr<Engine> engine, EngineEntry entry,
                  std::string bundle);
    EngineSession(const EngineSession&) = delete;
    EngineSession& operator=(const EngineSession&) = delete;
    ~EngineSession() override;

    std::vector<Tensor> run(const std::vector<Feed>& feeds) override;
    void enqueue(const std::vector<DeviceTensor>& inputs, const std::vector<DeviceTensor>& outputs,
                 void* stream) override;

  private:
    /// A stream for one caller; its end returns the stream to the pool.
    class StreamLease;

    [[nodiscard]] std::size_t profile(const Shapes& shapes) const;
    void check_inputs(const Shapes& shapes) const;

    const Device& device_;
    std::unique_ptr<Engine> engine_;
    EngineEntry entry_;
    std::string bundle_;
    std::vector<std::unique_ptr<EngineStream>> streams_;
    std::mutex mutex_;
    std::condition_variable returned_;
    std::vector<EngineStream*> idle_;
};

/// Throws Error (backend): the library cannot be loaded.
using LoadLibrary = std::unique_ptr<Library> (*)();

/// Load the engine that was compiled from a graph and fits this machine. `name`: the library's.
/// Throws Error (backend): no driver, library, or fitting engine; says what to do.
std::unique_ptr<Session> open_engine(const OpenRequest& request, const std::string& name,
                                     LoadLibrary load);

/// Whether every graph of a precision has an engine here that fits.
bool has_engines(const Bundle& bundle, const Options& options, const std::string& name,
                 LoadLibrary load);

}  // namespace hcflow::gpu
