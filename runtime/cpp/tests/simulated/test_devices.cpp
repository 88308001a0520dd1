// Several GPUs, and GPUs that fail.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <optional>

#include "engine_folder.hpp"
#include "gpu_tensors.hpp"
#include "hcflow/hcflow.h"
#include "system/shared_library.hpp"

using hcflow::Image;
using hcflow::Pixel;
using tests::EngineFolder;
using tests::error_of;
using tests::fine;
using tests::GpuRun;
using tests::has;
using tests::tau;

namespace gpu = hcflow::gpu;

namespace {

constexpr std::size_t kGigabyte = std::size_t{1} << 30U;

/// A model that is closed after main, and after every static object that a test made.
std::optional<hcflow::Model> closed_last;

/// Two GPUs instead of one, while this object exists.
struct TwoGpus {
    TwoGpus() { sim_machine(2, 13000, kGigabyte); }
    TwoGpus(const TwoGpus&) = delete;
    TwoGpus& operator=(const TwoGpus&) = delete;
    ~TwoGpus() { sim_machine(1, 13000, kGigabyte); }
};

/// A library of another minor version than its headers, while this object exists.
class MinorVersion {
  public:
    MinorVersion(const std::string& file, int minor, int of_headers)
        : set_(reinterpret_cast<Set>(hcflow::SharedLibrary(file).symbol("sim_minor_version"))),
          of_headers_(of_headers) {
        set_(minor);
    }
    MinorVersion(const MinorVersion&) = delete;
    MinorVersion& operator=(const MinorVersion&) = delete;
    ~MinorVersion() { set_(of_headers_); }

  private:
    using Set = void (*)(std::int32_t);
    Set set_;
    int of_headers_;
};

}  // namespace

TEST_CASE("a model runs on the GPU of its number, and refuses memory and streams of another") {
    const TwoGpus two;
    const EngineFolder folder;
    const Image small = tests::noise(4, 4, 3, Pixel::u8);
    const auto wanted = folder.open("null").upscale(small.view(), tau(0.5)).bytes();
    for (const int number : {0, 1}) {
        const hcflow::Model model = folder.open("tensorrt-rtx", "", number);
        CHECK(model.gpu() == number);
        for (int i = 0; i < 3; ++i) CHECK(model.upscale(small.view(), tau(0.5)).bytes() == wanted);
        const GpuRun here(number);
        here.enqueue(model);
        CHECK(here.hr.fetch(here.stream)[0] == GpuRun::kExpected);
        {
            const GpuRun there(1 - number);
            CHECK(has(error_of([&] { there.enqueue(model); }),
                      "1: stream belongs to another GPU or CUDA context than GPU " +
                          std::to_string(number)));
            CHECK(has(error_of([&] { there.enqueue(model, here.stream.handle()); }),
                      "is on GPU " + std::to_string(1 - number) + ", the model on GPU " +
                          std::to_string(number)));
        }
    }
    CHECK(folder.open("null").gpu() == -1);
    fine();
}

TEST_CASE("the GPUs are listed by number, in C too") {
    const TwoGpus two;
    CHECK(hcflow::gpus() ==
          std::vector<std::string>{"Simulated GPU (compute capability 8.9)",
                                   "Simulated GPU of kind 1 (compute capability 8.9)"});
    CHECK(hcflow_gpu_count() == 2);
    std::array<char, 10> name{};
    CHECK(hcflow_gpu_name(1, name.data(), name.size()) == HCFLOW_OK);
    CHECK(std::string(name.data()) == "Simulated");
    CHECK(hcflow_gpu_name(2, name.data(), name.size()) == HCFLOW_ERROR_PARAMETER);
    CHECK(has(hcflow_last_error(), "there is no GPU number 2 (2 found)"));
    CHECK(hcflow_gpu_name(0, name.data(), 0) == HCFLOW_ERROR_PARAMETER);
    CHECK(hcflow_gpu(nullptr) == -1);
}

TEST_CASE("a GPU that does not exist is named; auto uses another backend, if there is one") {
    const EngineFolder folder;
    const auto others = hcflow::backends();
    const bool openvino = std::find(others.begin(), others.end(), "openvino") != others.end();
    for (const int number : {-1, 3}) {
        const std::string missing =
            "4: there is no GPU number " + std::to_string(number) + " (1 found)";
        CHECK(has(error_of([&] {
                      (void)folder.open("tensorrt-rtx", "", number)
                          .upscale(tests::noise(4, 4, 3, Pixel::u8).view());
                  }),
                  missing));
        CHECK(has(error_of([&] { (void)folder.open("auto", "", number); }),
                  openvino ? "nothing" : "4: no backend can run this bundle"));
    }
}

TEST_CASE("whatever driver call fails, the error is ours, and nothing is left behind") {
    constexpr int kUnknown = 999;
    const Image small = tests::noise(4, 4, 3, Pixel::u8);
    const EngineFolder folder;
    const auto wanted = folder.open("null").upscale(small.view(), tau(0.5)).bytes();
    for (const char* function :
         {"cuMemAlloc", "cuMemAllocHost", "cuStreamCreate", "cuEventCreate", "cuEventRecord",
          "cuMemcpyHtoDAsync", "cuMemcpyDtoHAsync", "cuStreamWaitEvent", "cuStreamSynchronize",
          "cuStreamBeginCapture", "cuGraphInstantiateWithFlags", "cuGraphLaunch",
          "cuEventSynchronize", "cuCtxSetCurrent"}) {
        const std::size_t used = sim_used();
        for (int after = 0; after < 4; ++after) {
            INFO(std::string(function) << " fails after " << after);
            const std::string error = error_of([&] {
                const hcflow::Model model = folder.open();
                sim_fail(function, kUnknown, after);
                for (int i = 0; i < 6; ++i) {
                    auto bytes = wanted;
                    const std::string failed =
                        error_of([&] { bytes = model.upscale(small.view(), tau(0.5)).bytes(); });
                    CHECK((failed == "nothing" || failed.compare(0, 3, "4: ") == 0));
                    CHECK(bytes == wanted);
                }
                CHECK(tests::fine());
                sim_reset();
                CHECK(model.upscale(small.view(), tau(0.5)).bytes() == wanted);
            });
            CHECK(error == "nothing");
        }
        CHECK(sim_used() == used);
    }
    fine();
}

TEST_CASE("a driver call that finds no memory is tried again without the memory of other shapes") {
    constexpr int kOutOfMemory = 2;
    const EngineFolder folder;
    const Image small = tests::noise(4, 4, 3, Pixel::u8), large = tests::noise(6, 6, 3, Pixel::u8);
    const hcflow::Model exact = folder.open("null");
    for (const char* function :
         {"cuMemAlloc", "cuMemAllocHost", "cuEventRecord", "cuMemcpyHtoDAsync", "cuMemcpyDtoHAsync",
          "cuStreamWaitEvent", "cuStreamSynchronize", "cuStreamBeginCapture",
          "cuGraphInstantiateWithFlags", "cuGraphLaunch"}) {
        const hcflow::Model model = folder.open();
        (void)model.upscale(small.view(), tau(0.5));
        for (int after = 0; after < 3;
             ++after) {  // of two streams one is left out, one tries again
            sim_fail(function, kOutOfMemory, after);
            for (const Image* image : {&small, &large, &large, &small, &small, &large}) {
                INFO(std::string(function) << " finds no memory after " << after);
                auto bytes = exact.upscale(image->view(), tau(0.5)).bytes();
                CHECK(error_of([&] {
                          CHECK(model.upscale(image->view(), tau(0.5)).bytes() == bytes);
                      }) == "nothing");
            }
            sim_reset();
        }
    }
    fine();
}

TEST_CASE("too little page-locked memory is told as the host's") {
    const gpu::CurrentDevice current(gpu::Device::open(0));
    sim_fail("cuMemAllocHost", 2, 0);
    CHECK(has(error_of([] { const gpu::PinnedBuffer made(1 << 20); }),
              "4: out of memory: 4 MB of page-locked host memory are needed"));
}

TEST_CASE("a model may be closed after every other static object") {  // seen by the sanitizer
    const EngineFolder folder;
    closed_last = folder.open();
    (void)closed_last->upscale(tests::noise(4, 4, 3, Pixel::u8).view(), tau(0.5));
    fine();
}

TEST_CASE("a GPU whose context is lost gives errors, not crashes, until the process ends") {
    constexpr int kIllegalAddress = 700;
    const EngineFolder folder;
    const Image small = tests::noise(4, 4, 3, Pixel::u8);
    {
        const hcflow::Model model = folder.open();
        (void)model.upscale(small.view(), tau(0.5));
        sim_fail("cuStreamSynchronize", kIllegalAddress, 0);
        for (int i = 0; i < 3; ++i)
            CHECK(has(error_of([&] { (void)model.upscale(small.view(), tau(0.5)); }),
                      "4: the GPU reports CUDA_ERROR_ILLEGAL_ADDRESS"));
        CHECK(has(error_of([&] { (void)folder.open().upscale(small.view(), tau(0.5)); }), "4: "));
    }  // freed, as far as that is possible
    sim_reset();
}

TEST_CASE("a library that does not start names its version and the driver's") {
    const EngineFolder folder;
    sim_refuse_to_start(1);
    const std::string error = error_of(
        [&] { (void)folder.open().upscale(tests::noise(4, 4, 3, Pixel::u8).view(), tau(0.5)); });
    sim_refuse_to_start(0);
    CHECK(has(error,
              "4: TensorRT-RTX 1.7.1 does not start with this NVIDIA driver, which supports "
              "CUDA 13.0: CUDA driver is insufficient"));
    CHECK(has(error, "upgrade the driver"));
}

TEST_CASE("a library whose classes may differ from the headers' is refused, not called") {
    const Image small = tests::noise(4, 4, 3, Pixel::u8);
    const auto upscale = [&](const std::string& library) {
        return error_of([&] {
            (void)EngineFolder(library, [&](nlohmann::json& e) { e["version_compatible"] = true; })
                .open(library)
                .upscale(small.view(), tau(0.5));
        });
    };
    for (const int minor : {0, 6, 8}) {
        const MinorVersion other(hcflow::tensorrt_rtx_file(1, 7), minor, 7);
        CHECK(has(upscale("tensorrt-rtx"),
                  "4: the installed TensorRT-RTX is version 1." + std::to_string(minor) +
                      ".1, but this program was compiled for 1.7: install version 1.7"));
    }
    {
        const MinorVersion older(hcflow::tensorrt_file(10), 13, 14);
        CHECK(has(upscale("tensorrt"),
                  "4: the installed TensorRT is version 10.13.1, but this program was compiled for "
                  "10.14 or a later one"));
    }
    const MinorVersion later(hcflow::tensorrt_file(10), 15, 14);  // adds to the classes only
    CHECK(upscale("tensorrt") == "nothing");
    fine();
}
