// Runs on the caller's GPU memory and stream.
#include <doctest/doctest.h>

#include <thread>
#include <vector>

#include "engine_folder.hpp"
#include "gpu_tensors.hpp"

using hcflow::DeviceTensor;
using hcflow::Image;
using hcflow::Pixel;
using tests::EngineFolder;
using tests::error_of;
using tests::fine;
using tests::GpuRun;
using tests::has;
using tests::tau;

namespace gpu = hcflow::gpu;

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

TEST_CASE("tensors at addresses that an engine cannot use are copied on the GPU") {
    const EngineFolder folder;
    const hcflow::Model model = folder.open();
    const Image small = tests::noise(4, 4, 3, Pixel::u8);
    const auto wanted = folder.open("null").upscale(small.view(), tau(0.5)).bytes();
    const GpuRun even, odd(0, 4);
    for (const GpuRun* run : {&odd, &even, &odd}) {
        run->enqueue(model);
        CHECK(model.upscale(small.view(), tau(0.5)).bytes() == wanted);  // shares the buffers
        run->enqueue(model);
        CHECK(run->hr.fetch(run->stream)[200] == GpuRun::kExpected);
    }
    fine();
}

TEST_CASE("a run on GPU memory takes the memory that the model keeps for other shapes") {
    struct Shortage {
        std::vector<std::size_t> kept;  // sides of the images that have run
        std::size_t offset, free;       // bytes
    };
    // Of scratch memory for 4x4, and of buffers for tensors that are not aligned.
    for (const auto& [kept, offset, free] :
         {Shortage{{1, 2, 3}, 0, 49152 - 27648 - 1000}, Shortage{{8}, 4, 1000}}) {
        const EngineFolder folder;
        const hcflow::Model model = folder.open();
        sim_fail("cuMemAlloc", 2, 0);  // leaves out one of the two streams
        for (const std::size_t side : kept)
            (void)model.upscale(tests::noise(side, side, 3, Pixel::u8).view(), tau(0.5));
        const GpuRun run(0, offset);
        run.stream.synchronise();
        sim_machine(1, 13000, sim_used() + free);
        CHECK(error_of([&] { run.enqueue(model); }) == "nothing");
        CHECK(run.hr.fetch(run.stream)[0] == GpuRun::kExpected);
        sim_machine(1, 13000, std::size_t{1} << 30U);
    }
    fine();
}

TEST_CASE("a stream with the handle of a destroyed one still waits for its runs") {
    const EngineFolder folder;
    const hcflow::Model model = folder.open();
    const GpuRun run, other;
    void* handle = nullptr;
    {
        const gpu::Stream first;
        handle = first.handle();
        run.stream.synchronise();
        run.enqueue(model, handle);
    }
    const gpu::Stream second;
    REQUIRE(second.handle() == handle);
    other.stream.synchronise();
    other.enqueue(model, handle);
    CHECK(other.hr.fetch(second)[0] == GpuRun::kExpected);
    CHECK(run.hr.fetch(second)[0] == GpuRun::kExpected);
    fine();
}

TEST_CASE("two threads' own default streams are two streams, though their handles are equal") {
    const EngineFolder folder;
    const hcflow::Model model = folder.open();
    void* const own = reinterpret_cast<void*>(std::uintptr_t{2});
    const GpuRun one, two;
    for (const GpuRun* run : {&one, &two}) run->stream.synchronise();
    one.enqueue(model, own);
    std::thread([&] {
        const gpu::CurrentDevice current(gpu::Device::open(0));
        two.enqueue(model, own);
        REQUIRE(gpu::driver().cuStreamSynchronize(own) == 0);
    }).join();
    CHECK(two.hr.fetch(two.stream)[0] == GpuRun::kExpected);
    REQUIRE(gpu::driver().cuStreamSynchronize(own) == 0);
    CHECK(one.hr.fetch(one.stream)[0] == GpuRun::kExpected);
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
            const EngineFolder broken("tensorrt-rtx", {}, "HOST-CODE");  // does not load
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
    for (const std::uintptr_t number : {0, 1})  // CU_STREAM_LEGACY is 1
        CHECK(has(error(in, {hr}, reinterpret_cast<void*>(number)),
                  "1: stream is the default stream"));
    void* gone = gpu::Stream().handle();
    CHECK(has(error(in, {hr}, gone), "1: stream is not a stream of CUDA, or was destroyed"));
    (void)run.stream.capture(
        [&] { CHECK(has(error(in, {hr}, stream), "1: stream is being captured")); });
    float on_host = 0;
    CHECK(has(error({{"lr", {1, 3, 4, 4}, &on_host}, in[1], in[2]}, {hr}, stream),
              "1: 'lr' is not in GPU memory"));
    CHECK(has(error({{"lr", {1, 3, 4, 4}, run.lr.pinned.values()}, in[1], in[2]}, {hr}, stream),
              "1: 'lr' is not in GPU memory"));
    const tests::OnGpu other("lr", {1, 3, 4, 4}, 0.5F, run.stream);
    run.stream.synchronise();
    sim_other_context(other.address());
    CHECK(has(error({other.tensor, in[1], in[2]}, {hr}, stream),
              "1: 'lr' belongs to another CUDA context than GPU 0's primary one"));
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
