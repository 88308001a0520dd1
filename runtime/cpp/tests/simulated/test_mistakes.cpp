// Each rule of CUDA and of NVIDIA's libraries is broken once: the simulated GPU must see it.
#include <doctest/doctest.h>

#include <cmath>
#include <functional>

#define HCFLOW_NVINFER_NAMESPACE nvinfer1_of_mistakes
#include "backends/nvinfer.hpp"
#include "engine_folder.hpp"
#include "gpu/engine_files.hpp"
#include "gpu_tensors.hpp"

using tests::EngineFolder;
using tests::error_of;
using tests::has;
using tests::OnGpu;

namespace gpu = hcflow::gpu;

extern "C" {
// Of the driver, but not of our table.
int cuMemAllocAsync(std::uintptr_t* address, std::size_t size, void* stream);
int cuMemFreeAsync(std::uintptr_t address, void* stream);
}

namespace {

/// Whether the simulated GPU saw this mistake, which is then forgotten.
void check_seen(const std::string& mistake) {
    const std::string violation = sim_violation();
    INFO("seen: " << violation);
    CHECK(has(violation, mistake));
    sim_reset();
}

/// An engine with a context and everything set for images of 4x4.
struct Prepared {
    explicit Prepared(const gpu::Stream& stream, const std::string& words = "", bool eager = true)
        : folder("tensorrt-rtx", {}, words),
          library("TensorRT-RTX", hcflow::tensorrt_rtx_file(1, 7)),
          lr("lr", {1, 3, 4, 4}, 0.5F, stream),
          z1("z1", {1, 6, 8, 8}, 1.0F, stream),
          z2("z2", {1, 21, 4, 4}, 2.0F, stream),
          hr("hr", {1, 3, 16, 16}, 0.0F, stream) {
        const hcflow::Bundle bundle = hcflow::Bundle::open(folder.path());
        const auto engines = gpu::engines_of(bundle, bundle.manifest().graphs[0], "");
        engine = library.load(gpu::read_engine(engines.at(0)), "it", "", {}, false);
        context = engine->context(eager);
        for (const OnGpu* input : {&lr, &z1, &z2})
            context->set_input_shape(input->tensor.name, input->tensor.shape);
        scratch.emplace(context->scratch_size() + 4);
        context->set_scratch(scratch->address(), scratch->size());
        for (const OnGpu* tensor : {&lr, &z1, &z2, &hr})
            context->set_address(tensor->tensor.name, tensor->address());
    }

    EngineFolder folder;
    gpu::NvLibrary library;
    OnGpu lr, z1, z2, hr;
    std::optional<gpu::DeviceBuffer> scratch;
    std::unique_ptr<gpu::Engine> engine;
    std::unique_ptr<gpu::Context> context;
};

}  // namespace

TEST_CASE("a race of the host with a copy is seen") {
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
    check_seen("freed in flight");
    stream.synchronise();
    sim_reset();
}

TEST_CASE("waiting and allocating in a capture are seen, and end it") {
    const gpu::CurrentDevice current(gpu::Device::open(0));
    const gpu::Stream stream;
    const auto capture = [&](const std::function<void()>& work) {
        return error_of([&] { (void)stream.capture(work); });
    };
    CHECK(has(capture([&] { stream.synchronise(); }), "4: the GPU reports"));
    check_seen("waited for during its capture");
    CHECK(has(capture([] { const gpu::DeviceBuffer made(16); }), "4: the GPU reports"));
    check_seen("memory is allocated during a capture");
    CHECK(has(capture([] { const gpu::PinnedBuffer made(16); }), "4: the GPU reports"));
    check_seen("memory is allocated during a capture");
}

TEST_CASE("a run that is captured straight after scratch memory moved is seen") {
    const gpu::CurrentDevice current(gpu::Device::open(0));
    const gpu::Stream stream;
    Prepared run(stream);
    const auto capture = [&] {
        (void)stream.capture([&] { run.context->enqueue(stream.handle()); });
    };
    capture();
    check_seen("straight after its shapes or scratch memory changed");
    run.context->enqueue(stream.handle());
    capture();
    CHECK(tests::fine());
    run.context->set_scratch(run.scratch->address(), run.scratch->size());
    capture();
    check_seen("straight after its shapes or scratch memory changed");
    stream.synchronise();
}

TEST_CASE("a run that is captured with the kernels of any shape is seen") {
    const gpu::CurrentDevice current(gpu::Device::open(0));
    const gpu::Stream stream;
    Prepared run(stream, "", false);
    run.context->enqueue(stream.handle());
    (void)stream.capture([&] { run.context->enqueue(stream.handle()); });
    check_seen("captured before the kernels of its shape are compiled");
    stream.synchronise();
}

TEST_CASE("an engine that cannot be captured breaks the capture") {
    const gpu::CurrentDevice current(gpu::Device::open(0));
    const gpu::Stream stream;
    Prepared run(stream, "BREAKS-CAPTURES"), honest(stream, "UNCAPTURABLE");
    CHECK(run.context->may_be_captured(stream.handle()));
    CHECK(!honest.context->may_be_captured(stream.handle()));
    run.context->enqueue(stream.handle());
    CHECK(
        has(error_of([&] { (void)stream.capture([&] { run.context->enqueue(stream.handle()); }); }),
            "4: the engine failed: the engine cannot be captured"));
    CHECK(has(error_of([&] {
                  (void)stream.capture(
                      [&] { (void)error_of([&] { run.context->enqueue(stream.handle()); }); });
              }),
              "4: the GPU reports"));
    stream.synchronise();
    CHECK(tests::fine());
}

TEST_CASE("addresses that are not aligned are seen") {
    const gpu::CurrentDevice current(gpu::Device::open(0));
    const gpu::Stream stream;
    Prepared run(stream);
    run.context->set_address("lr", run.lr.address() + 4);
    check_seen("a tensor is not aligned to 256 bytes");
    run.context->set_scratch(run.scratch->address() + 4, run.scratch->size() - 4);
    check_seen("scratch memory is not aligned to 256 bytes");
    stream.synchronise();
}

TEST_CASE("one context on two streams that nothing orders is seen") {
    const gpu::CurrentDevice current(gpu::Device::open(0));
    const gpu::Stream one, two;
    Prepared run(one);
    one.synchronise();
    run.context->enqueue(one.handle());
    run.context->enqueue(two.handle());
    two.synchronise();
    check_seen("nothing orders them");
    one.synchronise();
}

TEST_CASE("a graph that is destroyed while it runs is seen") {
    const gpu::CurrentDevice current(gpu::Device::open(0));
    const gpu::Stream stream;
    Prepared run(stream);
    run.context->enqueue(stream.handle());
    stream.capture([&] { run.context->enqueue(stream.handle()); }).launch(stream.handle());
    check_seen("a graph is destroyed while it runs");
    stream.synchronise();
}

TEST_CASE("a destroyed stream, and a stream or memory of another GPU, are seen") {
    sim_machine(2, 13000, std::size_t{1} << 30U);
    const gpu::CurrentDevice first(gpu::Device::open(0));
    const gpu::Stream stream;
    Prepared run(stream);
    stream.synchronise();
    gpu::Handle gone = gpu::Stream().handle();
    run.context->enqueue(gone);
    check_seen("a destroyed stream is used");
    (void)gpu::driver().cuStreamSynchronize(gone);
    sim_reset();
    {
        const gpu::CurrentDevice second(gpu::Device::open(1));
        const gpu::Stream other;
        run.context->enqueue(stream.handle());
        check_seen("a stream of another GPU is used");
        stream.synchronise();
        sim_reset();
        run.context->enqueue(other.handle());
        other.synchronise();
        check_seen("an engine uses memory of another GPU");
    }
    stream.synchronise();
    sim_reset();
    sim_machine(1, 13000, std::size_t{1} << 30U);
}

TEST_CASE("memory of a pool is used and freed in the order of streams, or that is seen") {
    const gpu::CurrentDevice current(gpu::Device::open(0));
    const gpu::Stream owner, other;
    const gpu::DeviceBuffer source(64);
    std::uintptr_t made = 0;
    REQUIRE(cuMemAllocAsync(&made, 64, owner.handle()) == 0);
    gpu::Stream::copy(other.handle(), made, source.address(), 64);
    other.synchronise();
    check_seen("before its stream allocates it");
    const gpu::Event there;
    there.record(owner.handle());
    there.make_wait(other.handle());
    gpu::Stream::copy(other.handle(), made, source.address(), 64);
    REQUIRE(cuMemFreeAsync(made, owner.handle()) == 0);  // without waiting for the copy
    owner.synchronise();
    check_seen("nothing orders them");
    other.synchronise();
    sim_reset();
}

TEST_CASE("a runtime cache that was rejected and is used is seen") {
    const gpu::CurrentDevice current(gpu::Device::open(0));
    const gpu::Stream stream;
    const EngineFolder folder;
    const hcflow::Bundle bundle = hcflow::Bundle::open(folder.path());
    const auto engines = gpu::engines_of(bundle, bundle.manifest().graphs[0], "");
    const std::string data = gpu::read_engine(engines.at(0));
    gpu::Loaded loaded;
    using Create = void* (*)(void* logger, std::int32_t version) noexcept;
    const hcflow::SharedLibrary library(hcflow::tensorrt_rtx_file(1, 7));
    loaded.runtime.reset(static_cast<nvinfer1::IRuntime*>(
        reinterpret_cast<Create>(library.symbol("createInferRuntime_INTERNAL"))(
            &gpu::Log::of_library(), static_cast<std::int32_t>(NV_TENSORRT_VERSION))));
    loaded.engine.reset(loaded.runtime->deserializeCudaEngine(data.data(), data.size()));
    const std::unique_ptr<nvinfer1::IRuntimeConfig> config(loaded.engine->createRuntimeConfig());
    const std::unique_ptr<nvinfer1::IRuntimeCache> cache(config->createRuntimeCache());
    CHECK(!cache->deserialize("cut", 3));
    (void)config->setRuntimeCache(*cache);
    check_seen("a runtime cache is used that was rejected");
}
