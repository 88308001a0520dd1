// Runs a bundle's engines by TensorRT or TensorRT-RTX (runtime/backends/tensorrt.py).
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "../session.hpp"
#include "gpu/engine_entry.hpp"
#include "gpu/library.hpp"
#include "gpu/stream.hpp"

namespace hcflow::gpu {

/// One loaded engine. Host values are copied through pinned memory, and the second run of a shape
/// is captured as a CUDA graph. Device pointers are used as they are, on the caller's stream.
class EngineSession : public Session {
  public:
    /// Two streams with contexts of their own: one computes while the other copies.
    static constexpr std::size_t kStreams = 2;

    /// Engines for shapes that a session's own does not hold, the one to prefer first.
    struct Others {
        std::vector<EngineEntry> entries;
        /// Loads the one of this index.
        std::function<std::unique_ptr<EngineSession>(std::size_t)> open;
    };

    /// A CurrentDevice must exist.
    EngineSession(const Device& device, std::unique_ptr<Engine> engine, EngineEntry entry,
                  std::string bundle, Others others);
    EngineSession(const EngineSession&) = delete;
    EngineSession& operator=(const EngineSession&) = delete;
    ~EngineSession() override;

    std::vector<Tensor> run(const std::vector<Feed>& feeds) override;
    void reserve(const std::vector<std::pair<std::string, Shape>>& inputs) override;
    void enqueue(const std::vector<DeviceTensor>& inputs, const std::vector<DeviceTensor>& outputs,
                 void* stream) override;

  private:
    /// Exclusive use of one stream, until it is destroyed.
    class StreamLease;

    /// The session of the first other engine that holds shapes which this engine does not hold;
    /// null: there is none, or this one holds them. No other engine is loaded.
    [[nodiscard]] EngineSession* other(const Shapes& shapes);
    /// Does the work on an idle stream. A stream that finds no memory gives back its own and is
    /// left out, as long as others remain; the last one tries once more.
    void on_a_stream(const std::function<void(EngineStream&)>& work);
    [[nodiscard]] std::size_t profile(const Shapes& shapes) const;
    void check_inputs(const Shapes& shapes) const;
    static void check_outputs(const Shapes& wanted, const Shapes& given);

    const Device& device_;
    std::unique_ptr<Engine> engine_;
    EngineEntry entry_;
    std::string bundle_;
    Others others_;
    std::mutex opening_;
    std::map<std::size_t, std::unique_ptr<EngineSession>> opened_;  // by their index in others_
    std::vector<std::unique_ptr<EngineStream>> streams_;
    std::mutex mutex_;
    std::condition_variable returned_;
    std::vector<EngineStream*> idle_;
    std::size_t usable_ = kStreams;
};

}  // namespace hcflow::gpu
