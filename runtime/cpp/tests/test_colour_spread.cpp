// What the network sees under transparency: the colours of visible pixels nearby, never hidden
// ones.
#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>

#include "bundle_folder.hpp"
#include "image/colour_spread.hpp"
#include "image/pixels.hpp"

using hcflow::Image;
using hcflow::Pixel;
using tests::noise;

namespace {

using Places = std::vector<std::size_t>;

Places range(std::size_t start, std::size_t stop) {
    Places places(stop - start);
    std::iota(places.begin(), places.end(), start);
    return places;
}

/// Noise whose alpha is 0, 255 or in between by patches of 8×8 pixels; `hidden` where it is 0.
Image patches(std::size_t width, std::size_t height, unsigned char hidden) {
    Image image = noise(width, height, 4, Pixel::u8);
    auto* bytes = static_cast<unsigned char*>(image.view().data);
    for (std::size_t y = 0; y < height; ++y)
        for (std::size_t x = 0; x < width; ++x) {
            unsigned char* pixel = bytes + (y * width + x) * 4;
            const std::size_t kind = (y / 8 * 7 + x / 8 * 3) % 5;
            if (kind < 2) pixel[3] = 0;
            if (kind > 2) pixel[3] = 255;
            if (pixel[3] == 0) std::fill_n(pixel, 3, hidden);
        }
    return image;
}

std::vector<float> all_of(const Image& image) {
    return hcflow::read_visible_colour(hcflow::checked(image.view(), "image", true),
                                       range(0, image.height()), range(0, image.width()));
}

}  // namespace

TEST_CASE("colours hidden under alpha 0 change nothing, in both directions") {
    const tests::BundleFolder bundle([](nlohmann::json& m) { m["default_tau"] = 0.5; });
    const hcflow::Model model = bundle.open();
    const Image one = patches(90, 70, 0), two = patches(90, 70, 255);
    REQUIRE(one.bytes() != two.bytes());
    CHECK(model.upscale(one.view()).bytes() == model.upscale(two.view()).bytes());
    CHECK(model.downscale(one.view()).bytes() == model.downscale(two.view()).bytes());
}

TEST_CASE("a pixel's colour depends on no tile") {
    const Image image = patches(330, 270, 9);
    const hcflow::ConstView view = hcflow::checked(image.view(), "image", true);
    const std::vector<float> whole = all_of(image);
    const Places cuts[] = {{0, 1}, {63, 65}, {100, 129}, {255, 270}, {0, 270}};
    for (const Places& cut : cuts) {
        const Places rows = range(cut[0], cut[1]), columns = range(cut[0] + 5, cut[1] + 60);
        const std::vector<float> part = hcflow::read_visible_colour(view, rows, columns);
        std::vector<float> expected;
        for (std::size_t c = 0; c < 3; ++c)
            for (const std::size_t y : rows)
                for (const std::size_t x : columns)
                    expected.push_back(whole[(c * 270 + y) * 330 + x]);
        CHECK(part == expected);
    }
    // Rows and columns in any order, as padding by reflection asks for them.
    const std::vector<float> turned = hcflow::read_visible_colour(view, {200, 3}, {329, 1, 64});
    CHECK(turned[1] == whole[200 * 330 + 1]);
    CHECK(turned[5] == whole[3 * 330 + 64]);
}

TEST_CASE("opaque pixels keep their colour") {
    const Image image = patches(200, 150, 0);
    const hcflow::ConstView view = hcflow::checked(image.view(), "image", true);
    const std::vector<float> spread = all_of(image);
    const std::vector<float> raw = hcflow::read_colour(view, range(0, 150), range(0, 200));
    bool same = true;
    for (std::size_t i = 0; i < 150 * 200; ++i)
        if (image.bytes()[4 * i + 3] == 255)
            for (std::size_t c = 0; c < 3; ++c)
                same = same && spread[c * 30000 + i] == raw[c * 30000 + i];
    CHECK(same);
}

TEST_CASE("around a shape lies its colour, and gray beyond its reach") {
    Image image(300, 40, 4, Pixel::u8);  // all transparent black
    auto* bytes = static_cast<unsigned char*>(image.view().data);
    for (std::size_t y = 10; y < 30; ++y)
        for (std::size_t x = 10; x < 30; ++x) {
            unsigned char* pixel = bytes + (y * 300 + x) * 4;
            pixel[0] = pixel[3] = 255;
        }
    const std::vector<float> planes = all_of(image);
    const auto colour = [&](std::size_t c, std::size_t y, std::size_t x) {
        return planes[(c * 40 + y) * 300 + x];
    };
    for (const std::size_t x : {8, 9, 30, 31}) {
        CHECK(colour(0, 20, x) > 0.95F);
        CHECK(colour(1, 20, x) < 0.05F);
    }
    for (std::size_t c = 0; c < 3; ++c) CHECK(colour(c, 20, 299) == 0.5F);
}
