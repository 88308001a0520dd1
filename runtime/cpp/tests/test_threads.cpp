// Many threads on one model.
#include <doctest/doctest.h>

#include <atomic>
#include <thread>

#include "bundle_folder.hpp"

using hcflow::Image;
using hcflow::Pixel;

TEST_CASE("eight threads on one model give the same as one") {
    const tests::BundleFolder bundle([](nlohmann::json& m) { m["default_tau"] = 0.5; });
    const Image small = tests::noise(19, 13, 4, Pixel::u8),
                large = tests::noise(50, 37, 3, Pixel::f32);
    const auto draws = bundle.open().draw(small.view(), 8);
    const Image reduced = bundle.open().downscale(large.view());

    const hcflow::Model model = bundle.open();  // its graphs are loaded by the threads
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (std::uint32_t id = 0; id < 8; ++id)
        threads.emplace_back([&, id] {
            for (std::uint32_t i = 0; i < 6; ++i) {
                hcflow::UpscaleOptions options;
                options.sample = (id + i) % 8;
                options.tiling = hcflow::Tiling{5 + i, 2};
                if (model.upscale(small.view(), options).bytes() != draws[options.sample].bytes())
                    ++wrong;
                if (model.downscale(large.view()).bytes() != reduced.bytes()) ++wrong;
            }
        });
    for (std::thread& thread : threads) thread.join();
    CHECK(wrong == 0);
}
