// A caller's cancel ends a running call before its next tile, in C++ and in C.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <stdexcept>
#include <thread>
#include <vector>

#include "bundle_folder.hpp"
#include "hcflow/hcflow.h"

using hcflow::Image;
using hcflow::Pixel;
using hcflow::Report;
using hcflow::Tiling;
using tests::BundleFolder;
using tests::error_of;
using tests::has;
using tests::noise;

namespace {

constexpr Tiling kTiles{4, 1};

/// True from the n-th time it is asked.
hcflow::Cancel at(int n) {
    return [n, asked = 0]() mutable { return ++asked >= n; };
}

hcflow::UpscaleOptions upscaling(hcflow::Cancel cancel, Report* report = nullptr) {
    hcflow::UpscaleOptions options;
    options.tiling = kTiles;
    options.report = report;
    options.cancel = std::move(cancel);
    return options;
}

}  // namespace

TEST_CASE("a cancelled call computes no further tile, and the model stays usable") {
    const BundleFolder bundle;
    const hcflow::Model model = bundle.open();
    const Image small = noise(13, 11, 4, Pixel::u8), large = noise(50, 43, 3, Pixel::u16);
    const Image up = model.upscale(small.view(), upscaling(nullptr));
    const hcflow::Reduced down = model.downscale_with_latents(large.view(), {kTiles});
    for (int n = 1; n <= 5; ++n) {
        const auto tiles = static_cast<std::size_t>(std::max(n - 2, 0));  // asked once before them
        Report above, below;
        CHECK(error_of([&] { (void)model.upscale(small.view(), upscaling(at(n), &above)); }) ==
              "7: cancelled by the caller: the result is undefined");
        CHECK(above.tiles == tiles);
        const hcflow::DownscaleOptions options{kTiles, &below, at(n)};
        CHECK(has(error_of([&] { (void)model.downscale(large.view(), options); }), "7: "));
        CHECK(below.tiles == tiles);
        CHECK(has(error_of([&] { (void)model.downscale_with_latents(large.view(), options); }),
                  "7: "));
    }
    CHECK(model.upscale(small.view(), upscaling(at(1000))).bytes() == up.bytes());
    CHECK(model.downscale(large.view(), {kTiles, nullptr, at(1000)}).bytes() == down.image.bytes());
}

TEST_CASE("a cancel ends the whole batch and all samples") {
    const BundleFolder bundle;
    const hcflow::Model model = bundle.open();
    const Image one = noise(4, 4, 3, Pixel::u8);
    int asked = 0;
    const auto third = [&] { return ++asked == 3; };
    CHECK(has(error_of([&] { (void)model.draw(one.view(), 8, upscaling(third)); }), "7: "));
    CHECK(asked == 3);
    asked = 0;
    const std::vector<hcflow::ConstView> many(8, one.view());
    CHECK(has(error_of([&] { (void)model.upscale(many, upscaling(third)); }), "7: "));
    CHECK(asked == 3);
}

TEST_CASE("what a cancel function throws reaches the caller") {
    const BundleFolder bundle;
    const hcflow::Model model = bundle.open();
    const Image small = noise(5, 4, 3, Pixel::u8);
    const auto options = upscaling([]() -> bool { throw std::out_of_range("mine"); });
    CHECK_THROWS_AS((void)model.upscale(small.view(), options), std::out_of_range);
}

TEST_CASE("a flag set by another thread ends every call that asks it") {
    const BundleFolder bundle;
    const hcflow::Model model = bundle.open();
    const Image small = noise(24, 20, 3, Pixel::u8);
    std::atomic<bool> stop{false};
    std::atomic<int> started{0}, cancelled{0};
    std::vector<std::thread> threads;
    for (int id = 0; id < 4; ++id)
        threads.emplace_back([&] {
            ++started;
            const auto forever = [&] {
                for (;;) (void)model.upscale(small.view(), upscaling([&] { return stop.load(); }));
            };
            if (has(error_of(forever), "7: ")) ++cancelled;
        });
    while (started < 4) std::this_thread::yield();
    stop = true;
    for (std::thread& thread : threads) thread.join();
    CHECK(cancelled == 4);
}

TEST_CASE("C has the same cancel, with a status of its own") {
    const BundleFolder bundle;
    hcflow_options opening;
    hcflow_options_init(&opening, sizeof opening);
    opening.backend = "null";
    hcflow_model* model = nullptr;
    REQUIRE(hcflow_open(bundle.path().c_str(), &opening, &model) == HCFLOW_OK);
    std::vector<unsigned char> small(std::size_t{13} * 11 * 3, 9), large(16 * small.size());
    hcflow_image in, out;
    hcflow_image_init(&in, sizeof in);
    hcflow_image_init(&out, sizeof out);
    in.data = small.data(), in.width = 13, in.height = 11;
    out.data = large.data(), out.width = 52, out.height = 44;

    int left = 2;
    hcflow_run_options run;
    hcflow_run_options_init(&run, sizeof run);
    CHECK((run.cancel == nullptr));
    run.own_grid = 1, run.tile = kTiles.tile, run.overlap = kTiles.overlap;
    run.cancel = [](void* user) -> std::int32_t { return --*static_cast<int*>(user) < 0; };
    run.cancel_user = &left;
    CHECK(hcflow_upscale(model, &in, &out, &run) == HCFLOW_CANCELLED);
    CHECK(left == -1);
    CHECK(has(hcflow_last_error(), "cancelled by the caller"));
    left = 0;
    CHECK(hcflow_downscale(model, &out, &in, &run) == HCFLOW_CANCELLED);
    left = 1000;
    CHECK(hcflow_upscale(model, &in, &out, &run) == HCFLOW_OK);
    // A caller compiled before cancel existed: what lies behind its structure is not read.
    run.struct_size = offsetof(hcflow_run_options, cancel), left = -1;
    CHECK(hcflow_upscale(model, &in, &out, &run) == HCFLOW_OK);
    hcflow_close(model);
}
