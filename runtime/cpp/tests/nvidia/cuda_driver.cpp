// Compares our declarations of the CUDA driver with NVIDIA's cuda.h. Compiled, never run.
#include "gpu/driver.hpp"

#include <cuda.h>

#include <type_traits>

namespace {

/// Whether a call with our parameter passes what the driver's function expects: pointers for
/// pointers, to things of one size, and numbers of one size.
template <typename Ours, typename Theirs>
constexpr bool passes() {
    if constexpr (std::is_pointer_v<Ours> && std::is_pointer_v<Theirs>) {
        using One = std::remove_pointer_t<Ours>;
        using Two = std::remove_pointer_t<Theirs>;
        if constexpr (std::is_pointer_v<One> || std::is_pointer_v<Two>)
            return std::is_pointer_v<One> && std::is_pointer_v<Two>;
        else if constexpr (std::is_arithmetic_v<One> &&
                           (std::is_arithmetic_v<Two> || std::is_enum_v<Two>))
            return sizeof(One) == sizeof(Two);
        else
            return std::is_void_v<One>;  // a handle, or memory of any kind
    } else {
        return std::is_pointer_v<Ours> == std::is_pointer_v<Theirs> && std::is_integral_v<Ours> &&
               sizeof(Ours) == sizeof(Theirs);
    }
}

template <typename Ours, typename Theirs>
struct Alike : std::false_type {};
template <typename... Ours, typename... Theirs>
struct Alike<int (*)(Ours...), CUresult (*)(Theirs...)> {
    static constexpr bool value = [] {
        if constexpr (sizeof...(Ours) == sizeof...(Theirs))
            return (passes<Ours, Theirs>() && ...);
        else
            return false;
    }();
};

using namespace hcflow::gpu;

// cuda.h gives each name its newest function by a macro.
#define HCFLOW_COMPARE(name, ...) \
    static_assert(Alike<int (*)(__VA_ARGS__), decltype(&::name)>::value, #name);
HCFLOW_DRIVER_FUNCTIONS(HCFLOW_COMPARE)

static_assert(kCapabilityMajor == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
static_assert(kCapabilityMinor == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
static_assert(kOutOfMemory == CUDA_ERROR_OUT_OF_MEMORY);
static_assert(kPointerContext == CU_POINTER_ATTRIBUTE_CONTEXT);
static_assert(kPointerMemoryType == CU_POINTER_ATTRIBUTE_MEMORY_TYPE);
static_assert(kDeviceMemory == CU_MEMORYTYPE_DEVICE);
static_assert(kPointerDevice == CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL);
static_assert(kThreadLocalCapture == CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
static_assert(kNonBlocking == CU_STREAM_NON_BLOCKING);
static_assert(kDisableTiming == CU_EVENT_DISABLE_TIMING);
static_assert(CU_STREAM_CAPTURE_STATUS_NONE == 0 && CUDA_SUCCESS == 0);

}  // namespace
