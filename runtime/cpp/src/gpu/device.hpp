// An NVIDIA GPU: memory, streams, events and captured graphs (runtime/device.py).
// The primary context is used, so pointers and streams are shared with the CUDA runtime.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "gpu/driver.hpp"

namespace hcflow::gpu {

/// One GPU. Whatever is below is made, called and given back where it is `CurrentDevice`.
class Device {
  public:
    /// The GPU of that number, opened once in a process. Throws Error (backend): no driver, no GPU.
    static const Device& open(int ordinal);

    /// "8.9"
    [[nodiscard]] const std::string& compute_capability() const { return capability_; }

  private:
    friend class CurrentDevice;

    explicit Device(int ordinal);

    Handle context_ = nullptr;
    std::string capability_;
};

/// Makes a GPU's primary context current in this thread; at the end the caller's is so again.
class CurrentDevice {
  public:
    /// Throws Error (backend): the GPU is gone.
    explicit CurrentDevice(const Device& device);
    CurrentDevice(const CurrentDevice&) = delete;
    CurrentDevice& operator=(const CurrentDevice&) = delete;
    ~CurrentDevice();

  private:
    Handle before_ = nullptr;
};

struct Destroy {
    int (*function)(void*);
    // Nobody could do anything about a failure here.
    void operator()(void* owned) const noexcept { (void)function(owned); }
};
using Owned = std::unique_ptr<void, Destroy>;

/// Device memory. Throws Error (backend): there is not so much.
class DeviceBuffer {
  public:
    explicit DeviceBuffer(std::size_t size);
    [[nodiscard]] Address address() const;
    [[nodiscard]] std::size_t size() const { return size_; }

  private:
    std::size_t size_;
    Owned memory_;
};

/// Page-locked host memory, that the GPU copies from and to by itself.
class PinnedBuffer {
  public:
    explicit PinnedBuffer(std::size_t count);
    [[nodiscard]] float* values() const { return static_cast<float*>(memory_.get()); }
    [[nodiscard]] std::size_t bytes() const { return bytes_; }

  private:
    std::size_t bytes_;
    Owned memory_;
};

/// A point in a stream that others can wait for.
class Event {
  public:
    Event();
    void record(Handle stream) const;
    /// Let work from here on in a stream wait for it, on the GPU.
    void make_wait(Handle stream) const;
    /// Wait for it on the host.
    void synchronise() const;

  private:
    Owned handle_;
};

/// Work recorded and ready to launch, with the addresses it was captured with.
class CapturedGraph {
  public:
    explicit CapturedGraph(Handle graph);
    void launch(Handle stream) const;

  private:
    Owned executable_;
};

/// Work in order. Every method but `synchronise` returns before the work is done.
class Stream {
  public:
    Stream();  ///< does not wait for the default stream
    [[nodiscard]] Handle handle() const { return handle_.get(); }
    void synchronise() const;
    void upload(Address target, const PinnedBuffer& source) const;
    void download(const PinnedBuffer& target, Address source) const;
    /// What `work` puts into this stream, recorded and not run. Throws what `work` throws, or Error
    /// (backend): something in it cannot be captured.
    [[nodiscard]] CapturedGraph capture(const std::function<void()>& work) const;

  private:
    Owned handle_;
};

}  // namespace hcflow::gpu
