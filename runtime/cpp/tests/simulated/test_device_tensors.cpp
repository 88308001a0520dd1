// Runs on the caller's GPU memory and stream, and mistakes that the simulation detects.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "core/tensor.hpp"
#include "engine_folder.hpp"
#include "gpu/device.hpp"

using hcflow::DeviceTensor;
using hcflow::Image;
using hcflow::Pixel;
using tests::EngineFolder;
using tests::error_of;
using tests::fine;
using tests::has;
using tests::tau;

namespace {

namespace gpu = hcflow::gpu;

/// A tensor on the GPU, filled in a stream.
struct OnGpu {
    gpu::DeviceBuffer buffer;
    gpu::PinnedBuffer pinned;
    DeviceTensor tensor;

    OnGpu(std::string name, hcflow::Shape shape, float value, const gpu::Stream& stream)
        : buffer(hcflow::elements(shape) * 4),
          pinned(hcflow::elements(shape)),
          tensor{std::move(name), shape, reinterpret_cast<void*>(buffer.address())} {
        std::fill_n(pinned.values(), hcflow::elements(shape), value);
        stream.upload(buffer.address(), pinned);
    }
    [[nodiscard]] const float* fetch(const gpu::Stream& stream) const {
        stream.download(pinned, buffer.address());
        stream.synchronise();
        return pinned.values();
    }
};

struct GpuRun {
    gpu::CurrentDevice current{gpu::Device::open(0)};
    gpu::Stream stream;
    OnGpu lr{"lr", {1, 3, 4, 4}, 0.5F, stream};
    OnGpu z1{"z1", {1, 6, 8, 8}, 1.0F, stream};
    OnGpu z2{"z2", {1, 21, 4, 4}, 2.0F, stream};
    OnGpu hr{"hr", {1, 3, 16, 16}, 0.0F, stream};
    ~GpuRun() { stream.synchronise(); }  // before its memory is freed

    static constexpr float kExpected = 0.75F * 0.5F + 1.0F / 16 + 2.0F / 16;
};

}  // namespace

TEST_CASE("GPU memory runs on the caller's stream, without copy or wait") {
    const EngineFolder folder;
    const hcflow::Model model = folder.open();
    GpuRun run;
    const auto enqueue = [&] {
        model.enqueue_upscale({run.lr.tensor, run.z1.tensor, run.z2.tensor}, {run.hr.tensor},
                              run.stream.handle());
    };
    enqueue();  // the shape's first run prepares its context
    const int copies = sim_copies(), waits = sim_waits();
    enqueue();
    CHECK(sim_copies() == copies);
    CHECK(sim_waits() == waits);
    CHECK(sim_pending() > 0);  // nothing has run yet
    CHECK(run.hr.fetch(run.stream)[0] == GpuRun::kExpected);
    fine();
}

TEST_CASE("runs on two streams of the caller's and on the model's own wait for each other") {
    const EngineFolder folder;
    const hcflow::Model model = folder.open();
    const Image small = tests::noise(4, 4, 3, Pixel::u8);
    const auto wanted = folder.open("null").upscale(small.view(), tau(0.5)).bytes();
    GpuRun one, two;
    for (GpuRun* run : {&one, &two, &one})
        model.enqueue_upscale({run->lr.tensor, run->z1.tensor, run->z2.tensor}, {run->hr.tensor},
                              run->stream.handle());
    CHECK(model.upscale(small.view(), tau(0.5)).bytes() == wanted);
    CHECK(two.hr.fetch(two.stream)[5] == GpuRun::kExpected);
    CHECK(one.hr.fetch(one.stream)[5] == GpuRun::kExpected);
    fine();
}

TEST_CASE("every call restores the caller's context") {
    int others = 0;
    for (void* theirs : {static_cast<void*>(nullptr), static_cast<void*>(&others)}) {
        GpuRun run;
        gpu::Handle gpus = nullptr;
        REQUIRE(gpu::driver().cuCtxGetCurrent(&gpus) == 0);
        REQUIRE(gpu::driver().cuCtxSetCurrent(theirs) == 0);
        const auto is_theirs = [&] {
            gpu::Handle now = &now;
            (void)gpu::driver().cuCtxGetCurrent(&now);
            return now == theirs;
        };
        {
            const EngineFolder folder;
            const hcflow::Model model = folder.open("auto");  // loads its engines at once
            CHECK(is_theirs());
            for (int i = 0; i < 3; ++i) {  // plain, captured, replayed
                (void)model.upscale(tests::noise(4, 4, 3, Pixel::u8).view(), tau(0.5));
                CHECK(is_theirs());
            }
            CHECK(has(error_of([&] {
                          (void)model.upscale(tests::noise(17, 17, 3, Pixel::u8).view(), tau(0.5));
                      }),
                      "is outside the engine's shapes"));
            CHECK(is_theirs());
            model.enqueue_upscale({run.lr.tensor, run.z1.tensor, run.z2.tensor}, {run.hr.tensor},
                                  run.stream.handle());
            CHECK(is_theirs());
            const EngineFolder broken("tensorrt-rtx", {}, true);  // does not load
            CHECK(has(error_of([&] {
                          (void)broken.open().upscale(tests::noise(4, 4, 3, Pixel::u8).view());
                      }),
                      "host code is not allowed"));
            CHECK(is_theirs());
        }
        CHECK(is_theirs());
        REQUIRE(gpu::driver().cuCtxSetCurrent(gpus) == 0);
        CHECK(run.hr.fetch(run.stream)[0] == GpuRun::kExpected);
    }
    fine();
}

TEST_CASE("invalid device tensors are refused") {
    const EngineFolder folder;
    const hcflow::Model model = folder.open();
    GpuRun run;
    const auto error = [&](std::vector<DeviceTensor> in, std::vector<DeviceTensor> out,
                           void* stream) {
        return error_of([&] { model.enqueue_upscale(in, out, stream); });
    };
    void* stream = run.stream.handle();
    const std::vector<DeviceTensor> in = {run.lr.tensor, run.z1.tensor, run.z2.tensor};
    const DeviceTensor& hr = run.hr.tensor;
    CHECK(has(error(in, {hr}, nullptr), "1: stream is the default stream"));
    CHECK(has(error({in[0], in[1]}, {hr}, stream), "1: input 'z2' is missing"));
    CHECK(has(error(in, {}, stream), "1: output 'hr' is missing: give 1x3x16x16"));
    CHECK(has(error(in, {{"hr", {1, 3, 4, 4}, hr.address}}, stream), "it must be 1x3x16x16"));
    CHECK(has(error(in, {hr, {"lr2", {1}, hr.address}}, stream), "no output 'lr2'"));
    CHECK(has(error(in, {hr, hr}, stream), "'hr' is given twice"));
    CHECK(has(error(in, {{"hr", {1, 3, 16, 16}, nullptr}}, stream), "'hr' is null"));
    auto renamed = in;
    renamed.push_back({"z3", {1}, hr.address});
    CHECK(has(error(renamed, {hr}, stream), "no input 'z3'"));
    const hcflow::Model cpu = folder.open("null");
    CHECK(has(error_of([&] { cpu.enqueue_upscale(in, {hr}, stream); }),
              "4: this backend does not run on a GPU"));
    fine();
}

TEST_CASE("the simulated GPU detects races") {
    const gpu::CurrentDevice current(gpu::Device::open(0));
    const gpu::Stream stream;
    {
        OnGpu value("hr", {4}, 1.0F, stream);
        value.pinned.values()[0] = 2;  // rewritten before its copy is over
        const gpu::PinnedBuffer back(4);
        stream.download(back, value.buffer.address());
        CHECK(std::isnan(back.values()[0]));  // read before its copy is over
        stream.synchronise();
        CHECK(back.values()[0] == 2);
        stream.upload(value.buffer.address(), value.pinned);
    }  // freed while its copy waits
    CHECK(has(sim_violation(), "freed in flight"));
    stream.synchronise();
    sim_reset();
    CHECK(has(error_of([&] { (void)stream.capture([&] { stream.synchronise(); }); }),
              "4: the GPU reports"));
    CHECK(has(sim_violation(), "waited for during its capture"));
    sim_reset();
}
