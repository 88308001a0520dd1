// Libraries loaded at run time, on each system.
#include <doctest/doctest.h>

#include "hcflow/hcflow.h"
#include "hcflow/hcflow.hpp"
#include "system/shared_library.hpp"

using hcflow::SharedLibrary;

#ifdef _WIN32
constexpr const char* kThere = "kernel32.dll";
constexpr const char* kFunction = "GetProcAddress";
#else
constexpr const char* kThere = "libc.so.6";
constexpr const char* kFunction = "malloc";
#endif

TEST_CASE("a library is loaded by its file name, and one that is missing gives a reason") {
    const SharedLibrary library(kThere);
    CHECK(library.symbol(kFunction) != nullptr);
    CHECK(library.symbol("no_such_function") == nullptr);
    std::string reason;
    try {
        const SharedLibrary missing("no-such-library");
    } catch (const SharedLibrary::NotLoaded& error) {
        reason = error.what();
    }
    CHECK(!reason.empty());
}

TEST_CASE("NVIDIA's libraries have the names that they have on this system") {
#ifdef _WIN32
    CHECK(hcflow::cuda_driver_file() == "nvcuda.dll");
    CHECK(hcflow::tensorrt_file(10) == "nvinfer_10.dll");
    CHECK(hcflow::tensorrt_rtx_file(1, 7) == "tensorrt_rtx_1_7.dll");
#else
    CHECK(hcflow::cuda_driver_file() == "libcuda.so.1");
    CHECK(hcflow::tensorrt_file(10) == "libnvinfer.so.10");
    CHECK(hcflow::tensorrt_rtx_file(1, 7) == "libtensorrt_rtx.so.1");
#endif
}

TEST_CASE("GPUs are listed, or there are none: a missing driver is no error") {
    CHECK(hcflow_gpu_count() == hcflow::gpus().size());
}
