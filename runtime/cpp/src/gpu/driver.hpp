// The CUDA driver's C interface, loaded at first use. No CUDA library is linked.
// tests/nvidia_headers.cpp compares names, parameters and numbers with NVIDIA's cuda.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace hcflow::gpu {

using Address = std::uint64_t;  // CUdeviceptr
using Handle = void*;           // CUstream, CUevent, CUgraph, CUgraphExec, CUcontext

// Name and parameters of every function used; each returns a CUresult, 0 for success.
#define HCFLOW_DRIVER_FUNCTIONS(X)                                      \
    X(cuInit, unsigned)                                                 \
    X(cuDriverGetVersion, int*)                                         \
    X(cuDeviceGetCount, int*)                                           \
    X(cuDeviceGet, int*, int)                                           \
    X(cuDeviceGetAttribute, int*, int, int)                             \
    X(cuDeviceGetName, char*, int, int)                                 \
    X(cuDevicePrimaryCtxRetain, Handle*, int)                           \
    X(cuCtxGetCurrent, Handle*)                                         \
    X(cuCtxSetCurrent, Handle)                                          \
    X(cuMemGetInfo, std::size_t*, std::size_t*)                         \
    X(cuMemAlloc, Address*, std::size_t)                                \
    X(cuMemFree, Address)                                               \
    X(cuMemAllocHost, void**, std::size_t)                              \
    X(cuMemFreeHost, void*)                                             \
    X(cuMemcpyHtoDAsync, Address, const void*, std::size_t, Handle)     \
    X(cuMemcpyDtoHAsync, void*, Address, std::size_t, Handle)           \
    X(cuMemcpyDtoDAsync, Address, Address, std::size_t, Handle)         \
    X(cuPointerGetAttribute, void*, int, Address)                       \
    X(cuStreamGetCtx, Handle, Handle*)                                  \
    X(cuStreamIsCapturing, Handle, int*)                                \
    X(cuStreamCreate, Handle*, unsigned)                                \
    X(cuStreamDestroy, Handle)                                          \
    X(cuStreamSynchronize, Handle)                                      \
    X(cuStreamWaitEvent, Handle, Handle, unsigned)                      \
    X(cuStreamBeginCapture, Handle, int)                                \
    X(cuStreamEndCapture, Handle, Handle*)                              \
    X(cuEventCreate, Handle*, unsigned)                                 \
    X(cuEventDestroy, Handle)                                           \
    X(cuEventRecord, Handle, Handle)                                    \
    X(cuEventSynchronize, Handle)                                       \
    X(cuGraphInstantiateWithFlags, Handle*, Handle, unsigned long long) \
    X(cuGraphDestroy, Handle)                                           \
    X(cuGraphExecDestroy, Handle)                                       \
    X(cuGraphLaunch, Handle, Handle)                                    \
    X(cuGetErrorName, int, const char**)

/// The oldest CUDA version whose graphs and capture modes are those used here; every function is
/// looked up as it was in this version.
constexpr int kOldestDriver = 12000;

// Numbers of the driver's enumerations.
constexpr int kCapabilityMajor = 75, kCapabilityMinor = 76;  // CUdevice_attribute
constexpr int kOutOfMemory = 2;                              // CUresult
constexpr int kPointerContext = 1, kPointerMemoryType = 2,
              kPointerDevice = 9;                         // CUpointer_attribute
constexpr unsigned kDeviceMemory = 2;                     // CUmemorytype
constexpr int kThreadLocalCapture = 1;                    // CUstreamCaptureMode
constexpr unsigned kNonBlocking = 1, kDisableTiming = 2;  // of streams and events
constexpr std::uintptr_t kLegacyStream = 1;               // CU_STREAM_LEGACY

struct Driver {
#define HCFLOW_DRIVER_MEMBER(name, ...) int (*name)(__VA_ARGS__);
    HCFLOW_DRIVER_FUNCTIONS(HCFLOW_DRIVER_MEMBER)
#undef HCFLOW_DRIVER_MEMBER
};

/// The initialised driver. Throws Error (backend): it is missing, too old, or fails.
const Driver& driver();

/// The CUDA version that the driver supports: "13.0".
std::string driver_version();

/// Throws OutOfGpuMemory or Error (backend) unless `status` is that of a successful driver call.
void check(int status);

}  // namespace hcflow::gpu
