// An NVIDIA GPU: memory, streams, events and captured graphs (runtime/backends/cuda/device.py).
// It uses the primary context, so that pointers and streams are shared with the CUDA runtime.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "gpu/driver.hpp"

namespace hcflow::gpu {

/// One GPU. The classes below are created, used and destroyed while a CurrentDevice exists.
class Device {
  public:
    /// The GPU of this number, opened once per process. Throws Error (backend): no driver, no GPU.
    static const Device& open(int ordinal);

    /// "8.9"
    [[nodiscard]] const std::string& compute_capability() const { return capability_; }

    /// The driver's name: "NVIDIA L4".
    [[nodiscard]] const std::string& name() const { return name_; }

    /// Every GPU that the driver finds, by number: "NVIDIA L4 (compute capability 8.9)".
    /// Throws Error (backend): no driver.
    static std::vector<std::string> names();

    // Both while the device is current.
    /// Throws Error (parameter): the address is not memory of this GPU and of its primary context;
    /// `name` names it. Managed memory counts as what CUDA says that it is.
    void check_memory(const std::string& name, Address address) const;
    /// Throws Error (parameter): runs cannot be enqueued in the stream.
    void check_stream(Handle stream) const;

  private:
    friend class CurrentDevice;

    explicit Device(int ordinal);

    int ordinal_;
    Handle context_ = nullptr;
    std::string capability_, name_;
};

/// Makes a GPU's primary context current in this thread, and at its end the previous context again.
class CurrentDevice {
  public:
    /// Throws Error (backend): the GPU cannot be used any more.
    explicit CurrentDevice(const Device& device);
    CurrentDevice(const CurrentDevice&) = delete;
    CurrentDevice& operator=(const CurrentDevice&) = delete;
    ~CurrentDevice();

  private:
    Handle before_ = nullptr;
};

struct Destroy {
    int (*function)(void*);
    // Nothing can be done about a failure here.
    void operator()(void* owned) const noexcept { (void)function(owned); }
};
using Owned = std::unique_ptr<void, Destroy>;

/// Device memory. Throws Error (backend): out of GPU memory.
class DeviceBuffer {
  public:
    explicit DeviceBuffer(std::size_t size);
    [[nodiscard]] Address address() const;
    [[nodiscard]] std::size_t size() const { return size_; }

  private:
    std::size_t size_;
    Owned memory_;
};

/// Page-locked host memory, for asynchronous copies. Throws OutOfGpuMemory, Error (backend).
class PinnedBuffer {
  public:
    explicit PinnedBuffer(std::size_t count);
    [[nodiscard]] float* values() const { return static_cast<float*>(memory_.get()); }
    [[nodiscard]] std::size_t bytes() const { return bytes_; }

  private:
    std::size_t bytes_;
    Owned memory_;
};

/// A point in a stream that other streams and the host can wait for.
class Event {
  public:
    Event();
    void record(Handle stream) const;
    /// Makes the later work of a stream wait for the event, on the GPU.
    void make_wait(Handle stream) const;
    /// Waits for the event on the host.
    void synchronise() const;

  private:
    Owned handle_;
};

/// A captured CUDA graph, ready to launch. It uses the addresses of its capture.
class CapturedGraph {
  public:
    explicit CapturedGraph(Handle graph);
    void launch(Handle stream) const;

  private:
    Owned executable_;
};

/// A CUDA stream. Every method but `synchronise` returns before the work is done.
class Stream {
  public:
    Stream();  ///< does not wait for the default stream
    [[nodiscard]] Handle handle() const { return handle_.get(); }
    void synchronise() const;
    void upload(Address target, const PinnedBuffer& source) const;
    void download(const PinnedBuffer& target, Address source) const;
    /// Copies device memory in a stream of the caller's.
    static void copy(Handle stream, Address target, Address source, std::size_t size);
    /// Records what `work` enqueues in this stream, without running it. Throws what `work` throws,
    /// or Error (backend): a part of it cannot be captured.
    [[nodiscard]] CapturedGraph capture(const std::function<void()>& work) const;

  private:
    Owned handle_;
};

}  // namespace hcflow::gpu
