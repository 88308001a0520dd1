// Tensors in the memory of the simulated GPU.
#pragma once

#include <algorithm>
#include <string>
#include <utility>

#include "core/tensor.hpp"
#include "gpu/device.hpp"
#include "hcflow/hcflow.hpp"

namespace tests {

/// A tensor on the GPU, filled in a stream.
struct OnGpu {
    hcflow::gpu::DeviceBuffer buffer;
    hcflow::gpu::PinnedBuffer pinned;
    hcflow::DeviceTensor tensor;

    /// `offset`: bytes between the buffer's begin, which is aligned, and the tensor.
    OnGpu(std::string name, hcflow::Shape shape, float value, const hcflow::gpu::Stream& stream,
          std::size_t offset = 0)
        : buffer(hcflow::elements(shape) * 4 + offset),
          pinned(hcflow::elements(shape)),
          tensor{std::move(name), shape, reinterpret_cast<void*>(buffer.address() + offset)} {
        std::fill_n(pinned.values(), hcflow::elements(shape), value);
        stream.upload(address(), pinned);
    }
    [[nodiscard]] hcflow::gpu::Address address() const {
        return reinterpret_cast<hcflow::gpu::Address>(tensor.address);
    }
    [[nodiscard]] const float* fetch(const hcflow::gpu::Stream& stream) const {
        stream.download(pinned, address());
        stream.synchronise();
        return pinned.values();
    }
};

/// A stream and the tensors of one run, on a GPU that is current meanwhile.
struct GpuRun {
    explicit GpuRun(int gpu = 0, std::size_t offset = 0)
        : current(hcflow::gpu::Device::open(gpu)),
          lr("lr", {1, 3, 4, 4}, 0.5F, stream, offset),
          z1("z1", {1, 6, 8, 8}, 1.0F, stream, offset),
          z2("z2", {1, 21, 4, 4}, 2.0F, stream, offset),
          hr("hr", {1, 3, 16, 16}, 0.0F, stream, offset) {}
    GpuRun(const GpuRun&) = delete;
    GpuRun& operator=(const GpuRun&) = delete;
    ~GpuRun() { stream.synchronise(); }  // before its memory is freed

    hcflow::gpu::CurrentDevice current;
    hcflow::gpu::Stream stream;
    OnGpu lr, z1, z2, hr;

    void enqueue(const hcflow::Model& model, void* on) const {
        model.enqueue_upscale({lr.tensor, z1.tensor, z2.tensor}, {hr.tensor}, on);
    }
    void enqueue(const hcflow::Model& model) const { enqueue(model, stream.handle()); }

    static constexpr float kExpected = 0.75F * 0.5F + 1.0F / 16 + 2.0F / 16;
};

}  // namespace tests
