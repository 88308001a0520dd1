#include "gpu/device.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <mutex>

#include "core/error.hpp"
#include "core/one_line.hpp"
#include "gpu/library.hpp"

namespace hcflow::gpu {
namespace {

int attribute(int kind, int device) {
    int value = 0;
    check(driver().cuDeviceGetAttribute(&value, kind, device));
    return value;
}

int count_of_gpus() {
    int count = 0;
    check(driver().cuDeviceGetCount(&count));
    return count;
}

std::string name_of(int device) {
    std::array<char, 256> name{};
    check(driver().cuDeviceGetName(name.data(), static_cast<int>(name.size()) - 1, device));
    return name.data();
}

std::string capability_of(int device) {
    return concat(attribute(kCapabilityMajor, device), ".", attribute(kCapabilityMinor, device));
}

[[noreturn]] void throw_out_of_memory(const std::string& why) {
    std::size_t free = 0, total = 0;
    const bool known = driver().cuMemGetInfo(&free, &total) == 0;
    throw OutOfGpuMemory(
        concat("out of GPU memory: ", why,
               known ? concat(", ", free / 1000000, " of ", total / 1000000, " MB are free") : "",
               ": give smaller images or tiles, or end other programs on the GPU"));
}

Owned allocate(std::size_t size) {
    Address address = 0;
    const int status = driver().cuMemAlloc(&address, std::max<std::size_t>(size, 1));
    if (status == kOutOfMemory) throw_out_of_memory(concat(size / 1000000, " MB are needed"));
    check(status);
    return {reinterpret_cast<void*>(address), Destroy{[](void* owned) {
                return driver().cuMemFree(reinterpret_cast<Address>(owned));
            }}};
}

Owned allocate_pinned(std::size_t size) {
    Handle made = nullptr;
    const int status = driver().cuMemAllocHost(&made, std::max<std::size_t>(size, 1));
    if (status == kOutOfMemory)
        throw OutOfGpuMemory(concat("out of memory: ", size / 1000000,
                                    " MB of page-locked host memory are needed: give smaller "
                                    "images or tiles, or end other programs"));
    check(status);
    return {made, Destroy{driver().cuMemFreeHost}};
}

template <typename Create>
Owned make(int (*destroy)(void*), const Create& create) {
    Handle made = nullptr;
    check(create(&made));
    return {made, Destroy{destroy}};
}

}  // namespace

void throw_failure(const std::string& what, const std::string& reason, const std::string& remedy) {
    std::string plain;
    for (const char c : reason)
        if (c != ' ' && c != '_') plain += static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
    for (const char* words : {"outofmemory", "errormemoryallocation"})
        if (plain.find(words) != std::string::npos)
            throw_out_of_memory(concat(what, " (", reason, ")"));
    throw_error(ErrorCode::backend, what, ": ", reason, remedy);
}

const Device& Device::open(int ordinal) {
    // Neither is ever destroyed: a model may be closed after every other static object.
    static auto& opening = *new std::mutex;
    static auto& devices = *new std::map<int, Device>;
    const std::lock_guard<std::mutex> lock(opening);
    const auto found = devices.find(ordinal);
    if (found != devices.end()) return found->second;
    const int count = count_of_gpus();
    if (ordinal < 0 || ordinal >= count)
        throw_error(ErrorCode::backend, "there is no GPU number ", ordinal, " (", count,
                    " found): see nvidia-smi and CUDA_VISIBLE_DEVICES");
    return devices.emplace(ordinal, Device(ordinal)).first->second;
}

std::vector<std::string> Device::names() {
    std::vector<std::string> all;
    for (int ordinal = 0, count = count_of_gpus(); ordinal < count; ++ordinal) {
        int device = 0;
        check(driver().cuDeviceGet(&device, ordinal));
        all.push_back(
            one_line(concat(name_of(device), " (compute capability ", capability_of(device), ")")));
    }
    return all;
}

Device::Device(int ordinal) : ordinal_(ordinal) {
    int device = 0;
    check(driver().cuDeviceGet(&device, ordinal));
    check(driver().cuDevicePrimaryCtxRetain(&context_, device));
    capability_ = capability_of(device);
    name_ = name_of(device);
}

void Device::check_memory(const std::string& name, Address address) const {
    // Page-locked host memory, too, is on a device by its number alone.
    int on = 0;
    unsigned type = 0;
    if (driver().cuPointerGetAttribute(&type, kPointerMemoryType, address) != 0 ||
        driver().cuPointerGetAttribute(&on, kPointerDevice, address) != 0 || type != kDeviceMemory)
        throw_error(ErrorCode::parameter, "'", name,
                    "' is not in GPU memory: give the address that CUDA allocated");
    if (on != ordinal_)
        throw_error(ErrorCode::parameter, "'", name, "' is on GPU ", on, ", the model on GPU ",
                    ordinal_, ": copy it there, or open the bundle on GPU ", on);
    // Memory of a pool belongs to no context.
    Handle owner = nullptr;
    check(driver().cuPointerGetAttribute(&owner, kPointerContext, address));
    if (owner != nullptr && owner != context_)
        throw_error(ErrorCode::parameter, "'", name, "' belongs to another CUDA context than GPU ",
                    ordinal_, "'s primary one: allocate it with the CUDA runtime");
}

void Device::check_stream(Handle stream) const {
    const auto number = reinterpret_cast<std::uintptr_t>(stream);
    if (number == 0 || number == kLegacyStream)
        throw_error(
            ErrorCode::parameter,
            "stream is the default stream, on which TensorRT waits for the whole GPU: create one");
    Handle context = nullptr;
    if (driver().cuStreamGetCtx(stream, &context) != 0)
        throw_error(ErrorCode::parameter,
                    "stream is not a stream of CUDA, or was destroyed: give one that exists");
    if (context != context_)
        throw_error(ErrorCode::parameter, "stream belongs to another GPU or CUDA context than GPU ",
                    ordinal_, "'s primary one: create it with the CUDA runtime on this GPU");
    int capturing = 0;
    check(driver().cuStreamIsCapturing(stream, &capturing));
    if (capturing != 0)
        throw_error(ErrorCode::parameter,
                    "stream is being captured, which runs of an engine do not support: end the "
                    "capture first");
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
    : bytes_(count * sizeof(float)), memory_(allocate_pinned(bytes_)) {}

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

void Stream::copy(Handle stream, Address target, Address source, std::size_t size) {
    check(driver().cuMemcpyDtoDAsync(target, source, size, stream));
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
