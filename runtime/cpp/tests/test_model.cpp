// Images on the null backend, whose arithmetic is local and known.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>

#include "bundle_folder.hpp"
#include "hcflow/hcflow.hpp"
#include "inference/network.hpp"
#include "inference/upscale.hpp"

using hcflow::Image;
using hcflow::Pixel;
using hcflow::UpscaleOptions;
using tests::BundleFolder;
using tests::error_of;
using tests::has;
using tests::noise;
using tests::tau;

namespace {

const Pixel kTypes[] = {Pixel::u8, Pixel::u16, Pixel::f32};

class Broken : public hcflow::Session {
  public:
    std::vector<hcflow::Tensor> run(const std::vector<hcflow::Feed>& feeds) override {
        const hcflow::Shape shape = {1, 3, 4 * feeds[0].shape[2], 4 * feeds[0].shape[3]};
        std::vector<float> values(hcflow::elements(shape));
        values.back() = std::nanf("");
        return {hcflow::Tensor::own("hr", shape, std::move(values))};
    }
};

}  // namespace

TEST_CASE("the result has the scaled size and the input's channels and type") {
    const BundleFolder bundle;
    const hcflow::Model model = bundle.open();
    for (const Pixel type : kTypes)
        for (int channels = 1; channels <= 4; ++channels) {
            const Image large = model.upscale(noise(5, 3, channels, type).view());
            CHECK(large.width() == 20);
            CHECK(large.height() == 12);
            CHECK(large.channels() == channels);
            CHECK(large.type() == type);
            const Image small = model.downscale(noise(17, 9, channels, type).view());
            CHECK(small.width() == 5);
            CHECK(small.height() == 3);
            CHECK(small.channels() == channels);
        }
}

TEST_CASE("integers are rounded to the nearest") {
    const BundleFolder bundle;
    const Image in = noise(4, 4, 3, Pixel::u8);
    const Image out = bundle.open().upscale(in.view(), tau(0));
    for (std::size_t i = 0; i < 4; ++i) {
        const float unit = static_cast<float>(in.bytes()[3 * i]) / 255.0F * 0.75F;
        CHECK(out.bytes()[12 * i] == static_cast<int>(std::nearbyint(unit * 255.0F)));
    }
}

TEST_CASE("tiling does not change an image, in both directions, latents included") {
    const BundleFolder bundle([](nlohmann::json& m) { m["default_tau"] = 0.8; });
    const hcflow::Model model = bundle.open();
    for (const int channels : {1, 2, 3, 4}) {
        const Image small = noise(23, 17, channels, Pixel::u16),
                    large = noise(67, 41, channels, Pixel::u16);
        UpscaleOptions up;
        up.size = hcflow::Size{90, 66};
        const Image whole = model.upscale(small.view(), up);
        const hcflow::Reduced reduced = model.downscale_with_latents(large.view());
        for (const hcflow::Tiling tiling : {hcflow::Tiling{1, 0}, {5, 2}, {8, 8}, {16, 3}}) {
            up.tiling = tiling;
            CHECK(model.upscale(small.view(), up).bytes() == whole.bytes());
            const hcflow::Reduced tiled = model.downscale_with_latents(large.view(), {tiling});
            CHECK(tiled.image.bytes() == reduced.image.bytes());
            for (std::size_t i = 0; i < 2; ++i)
                CHECK(tiled.latents[i].values == reduced.latents[i].values);
        }
    }
}

TEST_CASE("the manifest's grid is used, and can be replaced") {
    const BundleFolder bundle([](nlohmann::json& m) {
        m["graphs"][0]["tile"] = 4;
        m["graphs"][0]["overlap"] = 1;
    });
    const hcflow::Model model = bundle.open();
    const Image small = noise(23, 17, 3, Pixel::u8);
    UpscaleOptions whole;
    whole.tiling = hcflow::Tiling{};
    CHECK(model.upscale(small.view()).bytes() == model.upscale(small.view(), whole).bytes());
}

TEST_CASE("a tile of the caller's can use the overlap of the graph") {
    const BundleFolder bundle([](nlohmann::json& m) {
        m["graphs"][0]["tile"] = 4;
        m["graphs"][0]["overlap"] = 3;
    });
    const hcflow::Model model = bundle.open();
    const auto used = [&](std::size_t tile) {
        hcflow::Report report;
        UpscaleOptions options;
        options.tiling = hcflow::Tiling{tile, hcflow::Tiling::kOwnOverlap};
        options.report = &report;
        (void)model.upscale(noise(23, 17, 3, Pixel::u8).view(), options);
        return report.tiling;
    };
    CHECK(used(8).tile == 8);
    CHECK(used(8).overlap == 3);
    CHECK(used(2).overlap == 3);  // the graph's overlap may be larger than the tile
    CHECK(used(0).tile == 23);    // not tiled
    hcflow::DownscaleOptions down;
    down.tiling = hcflow::Tiling{8, hcflow::Tiling::kOwnOverlap};
    CHECK(has(error_of([&] { (void)model.downscale(noise(40, 40, 3, Pixel::u8).view(), down); }),
              "states no overlap: give one"));
}

TEST_CASE("rows may have gaps, and pixels need no alignment") {
    const BundleFolder bundle;
    const hcflow::Model model = bundle.open();
    for (const Pixel type : kTypes) {
        const Image in = noise(7, 5, 4, type);
        const std::size_t row = 7 * 4 * static_cast<std::size_t>(type), stride = row + 3;
        std::vector<unsigned char> apart(1 + 5 * stride, 0xFF);
        for (std::size_t y = 0; y < 5; ++y)
            std::memcpy(&apart[1 + y * stride], &in.bytes()[y * row], row);
        const hcflow::ConstView view{&apart[1], 7, 5, 4, type, stride};
        const Image expected = model.upscale(in.view());
        CHECK(model.upscale(view).bytes() == expected.bytes());

        const std::size_t out_row = 4 * row, out_stride = out_row + 5;
        std::vector<unsigned char> out(1 + 20 * out_stride, 0xEE);
        model.upscale(view, {&out[1], 28, 20, 4, type, out_stride});
        for (std::size_t y = 0; y < 20; ++y) {
            CHECK(std::memcmp(&out[1 + y * out_stride], &expected.bytes()[y * out_row], out_row) ==
                  0);
            CHECK(out[1 + y * out_stride + out_row] == 0xEE);  // gaps are not written
        }
    }
}

TEST_CASE("a batch equals its images one by one; samples differ and can be drawn alone") {
    const BundleFolder bundle;
    const hcflow::Model model = bundle.open();
    const Image one = noise(5, 4, 3, Pixel::u8), two = noise(3, 6, 1, Pixel::u16);
    const auto both = model.upscale({one.view(), two.view()}, tau(1));
    CHECK(both[0].bytes() == model.upscale(one.view(), tau(1)).bytes());
    CHECK(both[1].bytes() == model.upscale(two.view(), tau(1)).bytes());
    CHECK(model.downscale({one.view(), two.view()}).size() == 2);

    const auto draws = model.draw(one.view(), 3, tau(1));
    CHECK(draws[0].bytes() != draws[1].bytes());
    UpscaleOptions third = tau(1);
    third.sample = 2;
    CHECK(model.upscale(one.view(), third).bytes() == draws[2].bytes());
    UpscaleOptions seeded = tau(1);
    seeded.seed = 9;
    CHECK(model.upscale(one.view(), seeded).bytes() != draws[0].bytes());
}

TEST_CASE("the caller's latents are used unchanged") {
    const BundleFolder bundle;
    const hcflow::Model model = bundle.open();
    const Image small = noise(4, 4, 3, Pixel::u8);
    hcflow::Latents zeros = model.latent_shapes({4, 4});
    for (hcflow::Latent& z : zeros) z.values.assign(z.channels * z.height * z.width, 0.0F);
    UpscaleOptions given;
    given.latents = &zeros;
    CHECK(model.upscale(small.view(), given).bytes() ==
          model.upscale(small.view(), tau(0)).bytes());
    zeros[1].values[3] = std::nanf("");
    CHECK(
        has(error_of([&] { (void)model.upscale(small.view(), given); }), "latent z2 contains NaN"));
    zeros[1].values.pop_back();
    CHECK(has(error_of([&] { (void)model.upscale(small.view(), given); }),
              "latent z2 is [21, 4, 4]"));
    given.tau = 1;
    CHECK(has(error_of([&] { (void)model.upscale(small.view(), given); }), "replace tau"));
}

TEST_CASE("NaN from a backend is an error") {
    const BundleFolder bundle;
    const auto open = [](const hcflow::OpenRequest&) -> std::unique_ptr<hcflow::Session> {
        return std::make_unique<Broken>();
    };
    hcflow::Network network(hcflow::Bundle::open(bundle.path()), open, "broken", {});
    const Image small = noise(4, 4, 3, Pixel::u8);
    Image large(16, 16, 3, Pixel::u8);
    CHECK(has(error_of([&] { upscale_into(network, small.view(), large.view(), {}); }),
              "4: 'inverse.fp32."));
}
