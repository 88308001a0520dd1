// The GPU backends on a simulated driver and library. Pixels are compared with the null backend's,
// which has the same arithmetic as the simulated engine.
#include <doctest/doctest.h>

#include <atomic>
#include <cmath>
#include <thread>

#include "engine_folder.hpp"
#include "gpu/device.hpp"
#include "gpu/session.hpp"

using hcflow::Image;
using hcflow::Pixel;
using hcflow::UpscaleOptions;
using tests::EngineFolder;
using tests::error_of;
using tests::fine;
using tests::has;
using tests::noise;
using tests::tau;

namespace {

namespace gpu = hcflow::gpu;

/// LR image and latents of one run, as feeds.
struct Inputs {
    std::vector<std::vector<float>> values;
    std::vector<hcflow::Feed> feeds;

    explicit Inputs(std::size_t side, float first = 0.25F, std::size_t batch = 1) {
        const std::vector<std::pair<std::string, hcflow::Shape>> shapes = {
            {"lr", {batch, 3, side, side}},
            {"z1", {batch, 6, 2 * side, 2 * side}},
            {"z2", {batch, 21, side, side}}};
        for (const auto& [name, shape] : shapes) {
            values.emplace_back(hcflow::elements(shape), first);
            feeds.push_back({name, shape, nullptr});
        }
        for (std::size_t i = 0; i < feeds.size(); ++i) feeds[i].values = values[i].data();
    }
    [[nodiscard]] float expected() const {
        return 0.75F * values[0][0] + values[1][0] / 16 + values[2][0] / 16;
    }
};

bool all_are(const hcflow::Tensor& tensor, float expected) {
    for (std::size_t i = 0; i < hcflow::elements(tensor.shape); ++i)
        if (tensor.values.get()[i] != expected) return false;
    return true;
}

std::unique_ptr<hcflow::Session> session_of(const EngineFolder& folder) {
    const hcflow::Bundle bundle = hcflow::Bundle::open(folder.path());
    return hcflow::open_tensorrt_rtx({bundle, bundle.manifest().graphs[0], 1, "", 0});
}

}  // namespace

TEST_CASE("engines give the null backend's bytes, in both directions, tiled and not") {
    for (const std::string library : {"tensorrt", "tensorrt-rtx"}) {
        const EngineFolder folder(library);
        const hcflow::Model on_gpu = folder.open(library), on_null = folder.open("null");
        CHECK(on_gpu.backend() == library);
        const Image small = noise(7, 5, 4, Pixel::u8), large = noise(26, 19, 3, Pixel::u16);
        for (int run = 0; run < 4; ++run) {  // plain, captured, replayed, replayed
            CHECK(on_gpu.upscale(small.view(), tau(0.5)).bytes() ==
                  on_null.upscale(small.view(), tau(0.5)).bytes());
            CHECK(on_gpu.downscale(large.view()).bytes() ==
                  on_null.downscale(large.view()).bytes());
        }
        UpscaleOptions tiled = tau(0.3);
        tiled.tiling = hcflow::Tiling{3, 1};
        CHECK(on_gpu.upscale(small.view(), tiled).bytes() ==
              on_null.upscale(small.view(), tiled).bytes());
        const hcflow::Reduced one = on_gpu.downscale_with_latents(large.view()),
                              two = on_null.downscale_with_latents(large.view());
        CHECK(one.latents[0].values == two.latents[0].values);
        fine();
    }
}

TEST_CASE("the third run of a shape is captured, later ones are one launch") {
    const EngineFolder folder;
    const auto session = session_of(folder);
    const Inputs inputs(5);
    // With any shape's kernels, with its own, captured.
    for (int i = 0; i < 3; ++i) (void)session->run(inputs.feeds);
    const int copies = sim_copies();
    const std::size_t used = sim_used();
    for (int i = 0; i < 20; ++i) {
        const Inputs other(5, 0.01F * static_cast<float>(i));
        CHECK(all_are(session->run(other.feeds)[0], other.expected()));
    }
    CHECK(sim_copies() == copies);  // all copies are in the graph
    CHECK(sim_used() == used);
    fine();
}

TEST_CASE("the number of shapes is bounded, and memory is freed") {
    const std::size_t start = sim_used();
    {
        const EngineFolder folder;
        const auto session = session_of(folder);
        std::size_t most = 0;
        for (int round = 0; round < 2; ++round) {
            for (std::size_t side = 1; side <= 16; ++side)
                for (int i = 0; i < 3; ++i) {
                    const Inputs inputs(side);
                    CHECK(all_are(session->run(inputs.feeds)[0], inputs.expected()));
                }
            if (round == 0) most = sim_used();
        }
        CHECK(sim_used() == most);
    }
    CHECK(sim_used() == start);
    fine();
}

TEST_CASE("growing scratch memory drops the graphs that use it") {
    const EngineFolder folder;
    const auto session = session_of(folder);
    for (const std::size_t side : {2U, 2U, 2U, 16U, 2U, 16U, 16U, 2U}) {
        const Inputs inputs(side);
        CHECK(all_are(session->run(inputs.feeds)[0], inputs.expected()));
    }
    fine();
}

TEST_CASE("an engine that cannot be captured runs without graphs, whether or not it says so") {
    for (const std::string words : {"UNCAPTURABLE", "BREAKS-CAPTURES"}) {
        const EngineFolder folder("tensorrt-rtx", {}, words);
        const auto session = session_of(folder);
        for (int i = 0; i < 4; ++i) {
            const Inputs inputs(5, 0.1F * static_cast<float>(i));
            CHECK(all_are(session->run(inputs.feeds)[0], inputs.expected()));
        }
        fine();
    }
}

TEST_CASE("a second profile is used if the first does not fit, and other shapes are refused") {
    const EngineFolder folder;
    const auto session = session_of(folder);
    const Inputs batch(12, 0.5F, 2);
    const auto outputs = session->run(batch.feeds);
    CHECK(outputs[0].shape == hcflow::Shape{2, 3, 48, 48});
    const std::string error = error_of([&] { (void)session->run(Inputs(17).feeds); });
    CHECK(has(error, "4: lr 1x3x17x17"));
    CHECK(has(error, "lr 1x3x1x1 to 1x3x8x8"));
    CHECK(has(error, "hcflow compile '" + folder.path() + "' --engine tensorrt-rtx --max"));
    fine();
}

TEST_CASE("eight threads share a model") {
    const EngineFolder folder;
    const hcflow::Model on_gpu = folder.open(), on_null = folder.open("null");
    std::vector<Image> images;
    std::vector<std::vector<unsigned char>> wanted;
    for (std::size_t i = 0; i < 8; ++i) {
        images.push_back(noise(3 + i, 4, 3, Pixel::u8));
        wanted.push_back(on_null.upscale(images.back().view(), tau(0.5)).bytes());
    }
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (std::size_t id = 0; id < 8; ++id)
        threads.emplace_back([&, id] {
            for (std::size_t i = id; i < id + 8; ++i)
                if (on_gpu.upscale(images[i % 8].view(), tau(0.5)).bytes() != wanted[i % 8])
                    ++wrong;
        });
    for (std::thread& thread : threads) thread.join();
    CHECK(wrong == 0);
    fine();
}

TEST_CASE("a GPU with little memory gets smaller tiles, and with too little the error") {
    EngineFolder folder;
    folder.manifest["engines"] = nlohmann::json::array();
    folder.add(0, "large.engine", {"tensorrt-rtx", "", {{32, 1}}});
    const Image image = noise(32, 32, 3, Pixel::u8);
    hcflow::Report report;
    UpscaleOptions options = tau(0.5);
    options.tiling = hcflow::Tiling{32, 0};
    options.report = &report;
    const auto wanted = folder.open("null").upscale(image.view(), options).bytes();
    CHECK(report.tiling.tile == 32);
    const hcflow::Model model = folder.open();
    sim_machine(1, 13000, sim_used() + 2000000);  // a window of 32x32 takes 3.5 MB, of 16x16 0.9
    CHECK(model.upscale(image.view(), options).bytes() == wanted);
    CHECK(report.tiling.tile == 16);
    CHECK(report.memory_short);
    sim_machine(1, 13000, sim_used() + 300000);
    CHECK(has(error_of([&] { (void)folder.open().upscale(image.view(), options); }),
              "4: out of GPU memory"));
    sim_machine(1, 13000, std::size_t{1} << 30U);
    fine();
}

TEST_CASE("too little GPU memory is an error, and loaded shapes still run") {
    const EngineFolder folder;
    const auto session = session_of(folder);
    const Inputs small(2), large(16);
    for (int i = 0; i < 3; ++i) (void)session->run(small.feeds);
    sim_machine(1, 13000, sim_used() + 1000);
    CHECK(has(error_of([&] { (void)session->run(large.feeds); }), "4: out of GPU memory"));
    sim_machine(1, 13000, std::size_t{1} << 30U);
    for (int i = 0; i < 3; ++i) {
        CHECK(all_are(session->run(small.feeds)[0], small.expected()));
        CHECK(all_are(session->run(large.feeds)[0], large.expected()));
    }
    fine();
}
