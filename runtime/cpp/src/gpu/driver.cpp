#include "gpu/driver.hpp"

#include <array>
#include <cstring>
#include <string>

#include "core/error.hpp"
#include "gpu/library.hpp"
#include "system/shared_library.hpp"

namespace hcflow::gpu {
namespace {

struct Entry {
    const char* name;
    void** place;
};

std::string version(int number) { return concat(number / 1000, ".", number % 1000 / 10); }

SharedLibrary load_library() try {
    return SharedLibrary(cuda_driver_file());
} catch (const SharedLibrary::NotLoaded& error) {
    throw_error(ErrorCode::backend, "this machine has no NVIDIA driver (", error.what(),
                "): install one, or use another backend");
}

Driver load() {
    const SharedLibrary library = load_library();
    // The driver's lookup returns each function as it was in the version asked for.
    using Lookup = int (*)(const char*, void**, int, std::uint64_t, int*);
    const auto lookup = reinterpret_cast<Lookup>(library.symbol("cuGetProcAddress_v2"));
    if (lookup == nullptr)
        throw_error(ErrorCode::backend, "the NVIDIA driver is too old: CUDA ",
                    version(kOldestDriver), " is needed: upgrade it");
    Driver found{};
    const std::array entries = {
#define HCFLOW_DRIVER_ENTRY(name, ...) Entry{#name, reinterpret_cast<void**>(&found.name)},
        HCFLOW_DRIVER_FUNCTIONS(HCFLOW_DRIVER_ENTRY)
#undef HCFLOW_DRIVER_ENTRY
    };
    for (const Entry& entry : entries) {
        int state = 0;
        if (lookup(entry.name, entry.place, kOldestDriver, 0, &state) != 0 ||
            *entry.place == nullptr)
            throw_error(ErrorCode::backend, "the NVIDIA driver has no ", entry.name,
                        ": upgrade it");
    }
    return found;
}

std::string describe(int status, const char* name) {
    constexpr std::array<std::array<const char*, 2>, 4> known = {{
        {"CUDA_ERROR_NO_DEVICE",
         "the NVIDIA driver finds no GPU: see nvidia-smi and CUDA_VISIBLE_DEVICES"},
        {"CUDA_ERROR_OUT_OF_MEMORY", "out of GPU memory: give smaller images or tiles"},
        {"CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
         "the NVIDIA driver was upgraded while it ran: restart the machine"},
        {"CUDA_ERROR_STUB_LIBRARY",
         "the CUDA driver library here is a stub: install the NVIDIA driver"},
    }};
    if (name == nullptr) return concat("the GPU reports error ", status);
    for (const auto& [each, words] : known)
        if (std::strcmp(name, each) == 0) return words;
    return concat("the GPU reports ", name, ": run 'hcflow selftest' and attach its report");
}

void check_with(const Driver& driver, int status) {
    if (status == 0) return;
    const char* name = nullptr;
    driver.cuGetErrorName(status, &name);
    if (status == kOutOfMemory) throw OutOfGpuMemory(describe(status, name));
    throw_error(ErrorCode::backend, describe(status, name));
}

}  // namespace

const Driver& driver() {
    static const Driver instance = [] {
        const Driver loaded = load();
        check_with(loaded, loaded.cuInit(0));
        int supported = 0;
        check_with(loaded, loaded.cuDriverGetVersion(&supported));
        if (supported < kOldestDriver)
            throw_error(ErrorCode::backend, "the NVIDIA driver is too old: it supports CUDA ",
                        version(supported), ", but ", version(kOldestDriver),
                        " is needed: upgrade it");
        return loaded;
    }();
    return instance;
}

std::string driver_version() {
    int supported = 0;
    check(driver().cuDriverGetVersion(&supported));
    return version(supported);
}

void check(int status) { check_with(driver(), status); }

}  // namespace hcflow::gpu
