#include "gpu/device.hpp"

#include <algorithm>
#include <map>
#include <mutex>

#include "core/error.hpp"

namespace hcflow::gpu {
namespace {

constexpr int kCapabilityMajor = 75, kCapabilityMinor = 76;  // CUdevice_attribute
constexpr unsigned kNonBlocking = 1, kDisableTiming = 2;
constexpr int kThreadLocalCapture = 1;

int attribute(int kind, int device) {
    int value = 0;
    check(driver().cuDeviceGetAttribute(&value, kind, device));
    return value;
}

Owned allocate(std::size_t size) {
    Address address = 0;
    if (driver().cuMemAlloc(&address, std::max<std::size_t>(size, 1)) != 0) {
        std::size_t free = 0, total = 0;
        check(driver().cuMemGetInfo(&free, &total));
        throw_error(ErrorCode::backend, "out of GPU memory: ", size / 1000000, " MB are needed, ",
                    free / 1000000, " of ", total / 1000000,
                    " MB are free: give smaller images or tiles, or end other programs on the GPU");
    }
    return {reinterpret_cast<void*>(address), Destroy{[](void* owned) {
                return driver().cuMemFree(reinterpret_cast<Address>(owned));
            }}};
}

template <typename Create>
Owned make(int (*destroy)(void*), const Create& create) {
    Handle made = nullptr;
    check(create(&made));
    return {made, Destroy{destroy}};
}

}  // namespace

const Device& Device::open(int ordinal) {
    static std::mutex opening;
    static std::map<int, Device> devices;
    const std::lock_guard<std::mutex> lock(opening);
    const auto found = devices.find(ordinal);
    if (found != devices.end()) return found->second;
    int count = 0;
    check(driver().cuDeviceGetCount(&count));
    if (ordinal < 0 || ordinal >= count)
        throw_error(ErrorCode::backend, "there is no GPU number ", ordinal, " (", count,
                    " found): see nvidia-smi and CUDA_VISIBLE_DEVICES");
    return devices.emplace(ordinal, Device(ordinal)).first->second;
}

Device::Device(int ordinal) {
    int device = 0;
    check(driver().cuDeviceGet(&device, ordinal));
    check(driver().cuDevicePrimaryCtxRetain(&context_, device));
    capability_ =
        concat(attribute(kCapabilityMajor, device), ".", attribute(kCapabilityMinor, device));
}

CurrentDevice::CurrentDevice(const Device& device) {
    check(driver().cuCtxGetCurrent(&before_));
    check(driver().cuCtxSetCurrent(device.context_));
}

// Nothing can be done about a failure here.
CurrentDevice::~CurrentDevice() { (void)driver().cuCtxSetCurrent(before_); }

DeviceBuffer::DeviceBuffer(std::size_t size) : size_(size), memory_(allocate(size)) {}

Address DeviceBuffer::address() const { return reinterpret_cast<Address>(memory_.get()); }

PinnedBuffer::PinnedBuffer(std::size_t count)
    : bytes_(count * sizeof(float)), memory_(make(driver().cuMemFreeHost, [&](void** made) {
          return driver().cuMemAllocHost(made, std::max<std::size_t>(bytes_, 1));
      })) {}

Event::Event()
    : handle_(make(driver().cuEventDestroy,
                   [](Handle* made) { return driver().cuEventCreate(made, kDisableTiming); })) {}

void Event::record(Handle stream) const { check(driver().cuEventRecord(handle_.get(), stream)); }

void Event::make_wait(Handle stream) const {
    check(driver().cuStreamWaitEvent(stream, handle_.get(), 0));
}

void Event::synchronise() const { check(driver().cuEventSynchronize(handle_.get())); }

CapturedGraph::CapturedGraph(Handle graph)
    : executable_(make(driver().cuGraphExecDestroy, [&](Handle* made) {
          return driver().cuGraphInstantiateWithFlags(made, graph, 0);
      })) {}

void CapturedGraph::launch(Handle stream) const {
    check(driver().cuGraphLaunch(executable_.get(), stream));
}

Stream::Stream()
    : handle_(make(driver().cuStreamDestroy,
                   [](Handle* made) { return driver().cuStreamCreate(made, kNonBlocking); })) {}

void Stream::synchronise() const { check(driver().cuStreamSynchronize(handle_.get())); }

void Stream::upload(Address target, const PinnedBuffer& source) const {
    check(driver().cuMemcpyHtoDAsync(target, source.values(), source.bytes(), handle_.get()));
}

void Stream::download(const PinnedBuffer& target, Address source) const {
    check(driver().cuMemcpyDtoHAsync(target.values(), source, target.bytes(), handle_.get()));
}

CapturedGraph Stream::capture(const std::function<void()>& work) const {
    check(driver().cuStreamBeginCapture(handle_.get(), kThreadLocalCapture));
    Handle graph = nullptr;
    try {
        work();
    } catch (...) {
        driver().cuStreamEndCapture(handle_.get(), &graph);  // leaves the stream usable
        if (graph != nullptr) driver().cuGraphDestroy(graph);
        throw;
    }
    check(driver().cuStreamEndCapture(handle_.get(), &graph));
    const Owned owned(graph, Destroy{driver().cuGraphDestroy});
    return CapturedGraph(graph);
}

}  // namespace hcflow::gpu
