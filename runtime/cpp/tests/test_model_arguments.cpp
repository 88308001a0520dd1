// Invalid arguments give an error code and a message.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "bundle_folder.hpp"
#include "hcflow/hcflow.hpp"

using hcflow::ConstView;
using hcflow::Image;
using hcflow::Pixel;
using tests::BundleFolder;
using tests::error_of;
using tests::has;
using tests::noise;

TEST_CASE("invalid images are refused, in both directions") {
    const BundleFolder bundle;
    const hcflow::Model model = bundle.open();
    const auto both = [&](const ConstView& view, const char* part) {
        const std::string up = error_of([&] { (void)model.upscale(view); });
        const std::string down = error_of([&] { (void)model.downscale(view); });
        CHECK_MESSAGE((has(up, part) && has(down, part)), up, " / ", down);
    };
    unsigned char pixels[64] = {};
    both({nullptr, 4, 4, 3, Pixel::u8, 0}, "3: image is null");
    both({pixels, 0, 4, 3, Pixel::u8, 0}, "it has no pixels");
    both({pixels, 4, 0, 3, Pixel::u8, 0}, "it has no pixels");
    both({pixels, 4, 4, 0, Pixel::u8, 0}, "has 0 channels");
    both({pixels, 4, 4, 5, Pixel::u8, 0}, "has 5 channels");
    both({pixels, 4, 4, -1, Pixel::u8, 0}, "has -1 channels");
    both({pixels, 4, 4, 3, static_cast<Pixel>(3), 0}, "pixels of type 3");
    both({pixels, 4, 4, 3, Pixel::u8, 11}, "has a stride of 11 bytes, but a row has 12");
    both({pixels, SIZE_MAX, 4, 3, Pixel::u8, 0}, "a side has at most 2^31 pixels");
    both({pixels, 4, 4, 3, Pixel::u8, SIZE_MAX / 2}, "that does not fit into memory");
}

TEST_CASE("at most 1024 threads are allowed") {
    const BundleFolder bundle;
    const auto with = [&](int threads) {
        hcflow::Options options;
        options.backend = "null";
        options.threads = threads;
        return error_of([&] { (void)hcflow::Model::load(bundle.path(), options); });
    };
    CHECK(with(0) == "nothing");
    CHECK(with(1024) == "nothing");
    CHECK(with(1025) == "1: threads is 1025: it must be from 0 to 1024");
    CHECK(has(with(-1), "1: threads is -1"));
}

TEST_CASE("float pixels far outside [0, 1] are refused") {
    const BundleFolder bundle;
    const hcflow::Model model = bundle.open();
    float pixels[12] = {};
    const ConstView view{pixels, 2, 2, 3, Pixel::f32, 0};
    CHECK(error_of([&] { (void)model.upscale(view); }) == "nothing");
    pixels[5] = 128;
    CHECK(has(error_of([&] { (void)model.upscale(view); }), "float pixels from 0 to 128"));
    pixels[5] = std::nanf("");
    CHECK(has(error_of([&] { (void)model.downscale(view); }), "3: image has NaN"));
}

TEST_CASE("a result of a wrong size or type is refused") {
    const BundleFolder bundle;
    const hcflow::Model model = bundle.open();
    const Image in = noise(4, 4, 3, Pixel::u8);
    const auto into = [&](std::size_t width, std::size_t height, int channels) {
        Image out(width, height, channels, Pixel::u8);
        return error_of([&] { model.upscale(in.view(), out.view()); });
    };
    CHECK(into(16, 16, 3) == "nothing");
    CHECK(into(13, 14, 3) == "nothing");
    CHECK(has(into(12, 16, 3), "1: size 12x16 does not belong to a 4x4 image at scale 4"));
    CHECK(has(into(16, 17, 3), "1: size 16x17"));
    CHECK(has(into(16, 16, 1), "1: result is 16x16 with 1 channels"));
    Image small(2, 1, 3, Pixel::u8);
    CHECK(has(error_of([&] { model.downscale(in.view(), small.view()); }), "it must be 1x1"));
    CHECK(has(error_of([&] { model.downscale(in.view(), hcflow::View{}); }), "3: result is null"));
    CHECK(has(error_of([&] { Image(0, 1, 3, Pixel::u8); }), "3: image is 0x1"));
}

TEST_CASE("options out of range are refused") {
    const BundleFolder bundle;
    const hcflow::Model model = bundle.open();
    const Image in = noise(4, 4, 3, Pixel::u8);
    const auto with = [&](const hcflow::UpscaleOptions& options) {
        return error_of([&] { (void)model.upscale(in.view(), options); });
    };
    hcflow::UpscaleOptions options;
    for (const double tau : {-1.0, std::nan(""), HUGE_VAL}) {
        options.tau = tau;
        CHECK(has(with(options), "1: tau is"));
    }
    options = {};
    options.tiling = hcflow::Tiling{4, 5};
    CHECK(has(with(options), "overlap 5 is larger than tile 4"));
    options.tiling = hcflow::Tiling{0, 5};
    CHECK(has(with(options), "overlap 5 without a tile"));
    CHECK(has(error_of([&] { (void)model.draw(in.view(), 0); }), "samples is 0"));
    options = {};
    options.sample = UINT32_MAX;
    CHECK(has(error_of([&] { (void)model.draw(in.view(), 2, options); }),
              "a sample must be below 2^32"));
}

TEST_CASE("a backend that is unknown or not compiled in is named") {
    const BundleFolder bundle;
    const auto open = [&](const hcflow::Options& options) {
        return error_of([&] { hcflow::Model::load(bundle.path(), options); });
    };
    hcflow::Options options;
    options.backend = "abacus";
    CHECK(has(open(options),
              "1: unknown backend 'abacus': one of auto, tensorrt, tensorrt-rtx, openvino, null"));
    options.backend = "openvino";
    const auto all = hcflow::backends();
    if (std::find(all.begin(), all.end(), options.backend) == all.end())
        CHECK(has(open(options), "4: backend 'openvino' was not compiled in"));
    options = {};
    options.backend = "null";
    options.threads = -1;
    CHECK(has(open(options), "1: threads is -1"));
    options.threads = 0;
    options.precision = static_cast<hcflow::Precision>(7);
    CHECK(has(open(options), "1: unknown precision 7"));
}
