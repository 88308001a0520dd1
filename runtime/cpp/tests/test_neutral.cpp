// Output is neutral where the input is, and keeps its colours where the input has some.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "bundle_folder.hpp"
#include "image/neutral.hpp"
#include "image/pixels.hpp"
#include "inference/downscale.hpp"
#include "inference/network.hpp"
#include "inference/upscale.hpp"

using hcflow::Image;
using hcflow::Pixel;
using hcflow::Tensor;
using tests::BundleFolder;

namespace {

/// The null backend with a tint: a tenth more red.
std::unique_ptr<hcflow::Session> open_tinted(const hcflow::OpenRequest& request) {
    class Tinted : public hcflow::Session {
      public:
        explicit Tinted(std::unique_ptr<hcflow::Session> plain) : plain_(std::move(plain)) {}

        std::vector<Tensor> run(const std::vector<hcflow::Feed>& feeds) override {
            std::vector<Tensor> outputs = plain_->run(feeds);
            const std::size_t count = hcflow::elements(outputs[0].shape);
            std::vector<float> values(outputs[0].values.get(), outputs[0].values.get() + count);
            for (std::size_t i = 0; i < count / 3; ++i) values[i] += 0.1F;
            outputs[0] = Tensor::own(outputs[0].name, outputs[0].shape, std::move(values));
            return outputs;
        }

      private:
        std::unique_ptr<hcflow::Session> plain_;
    };
    return std::make_unique<Tinted>(hcflow::open_null(request));
}

/// Gray noise stored as RGB, with a red square from (top, left) on.
Image page(std::size_t side, std::size_t top, std::size_t left, std::size_t red) {
    const Image gray = tests::noise(side, side, 1, Pixel::u8);
    Image image(side, side, 3, Pixel::u8);
    auto* bytes = static_cast<unsigned char*>(image.view().data);
    for (std::size_t i = 0; i < side * side; ++i) {
        std::fill_n(bytes + 3 * i, 3, static_cast<unsigned char>(gray.bytes()[i] / 2));
        const std::size_t y = i / side, x = i % side;
        if (y >= top && y < top + red && x >= left && x < left + red) bytes[3 * i] = 250;
    }
    return image;
}

struct Tinting {
    Image up(const Image& image, std::optional<hcflow::Tiling> tiling = std::nullopt,
             const hcflow::Latents* latents = nullptr) {
        Image result(4 * image.width(), 4 * image.height(), 3, Pixel::u8);
        hcflow::UpscaleOptions options;
        options.tiling = tiling;
        options.latents = latents;
        upscale_into(network, image.view(), result.view(), options);
        return result;
    }
    Image down(const Image& image, std::optional<hcflow::Tiling> tiling = std::nullopt) {
        Image result(image.width() / 4, image.height() / 4, 3, Pixel::u8);
        downscale_into(network, image.view(), result.view(), {tiling}, nullptr);
        return result;
    }

    BundleFolder bundle;
    hcflow::Network network{hcflow::Bundle::open(bundle.path()), open_tinted, "tinted", {}};
};

/// The largest difference of two channels in columns [from, to).
int chroma(const Image& image, std::size_t from, std::size_t to) {
    int most = 0;
    for (std::size_t y = 0; y < image.height(); ++y)
        for (std::size_t x = from; x < to; ++x) {
            const unsigned char* p = image.bytes().data() + 3 * (y * image.width() + x);
            most = std::max(most, std::max({p[0], p[1], p[2]}) - std::min({p[0], p[1], p[2]}));
        }
    return most;
}

}  // namespace

TEST_CASE("a neutral picture stays neutral, and keeps its luma") {
    Tinting tinting;
    const Image text = page(48, 99, 99, 0), large = tinting.up(text);
    CHECK(chroma(large, 0, 192) == 0);
    CHECK(chroma(tinting.down(text), 0, 12) == 0);
    for (std::size_t i = 0; i < 48; ++i) {
        const float luma = static_cast<float>(text.bytes()[3 * i]) / 255 * 0.75F + 0.0299F;
        CHECK(std::abs(static_cast<float>(large.bytes()[12 * i]) - 255 * luma) <= 1);
    }
}

TEST_CASE("a logo keeps its colours, and the page away from it is neutral") {
    Tinting tinting;
    const Image up = tinting.up(page(64, 20, 0, 8));
    CHECK(chroma(up, 4 * (8 + 10), 256) == 0);  // 6 + 3 pixels away, and one between centres
    CHECK(chroma(up, 0, 4) > 25);
    const Image down = tinting.down(page(256, 80, 0, 32));
    CHECK(chroma(down, 8 + 9, 64) == 0);
    CHECK(chroma(down, 0, 8) > 25);
}

TEST_CASE("colour ends without an edge") {
    const Image logo = page(64, 20, 0, 8);
    const hcflow::ColourMap map(hcflow::checked(logo.view(), "image", true), 1, nullptr);
    const hcflow::Plane kept = map.kept(0, 0, 256, 256, 4);
    float most = 0;
    for (std::size_t y = 0; y < 255; ++y)
        for (std::size_t x = 0; x < 255; ++x) {
            const float here = kept.values[y * 256 + x];
            most = std::max({most, std::abs(kept.values[y * 256 + x + 1] - here),
                             std::abs(kept.values[(y + 1) * 256 + x] - here)});
        }
    CHECK(most < 1.0F / 27);  // 1/7 an LR pixel, over 4 output pixels: 1/28
    CHECK(kept.values[90 * 256] == 1.0F);
    CHECK(kept.values[255] == 0.0F);
}

TEST_CASE("a step between channels is no colour, four more are all") {
    Image image(40, 1, 3, Pixel::u8);
    auto* bytes = static_cast<unsigned char*>(image.view().data);
    const auto kept = [&](unsigned char step) {
        std::fill_n(bytes, 120, std::uint8_t{100});
        for (std::size_t i = 0; i < 40; ++i) bytes[3 * i + 1] = 100 + step;
        return hcflow::ColourMap(hcflow::checked(image.view(), "image", true), 1, nullptr)
            .kept(0, 20, 1, 1, 1)
            .values[0];
    };
    CHECK(kept(1) == 0.0F);
    CHECK(kept(3) == doctest::Approx(0.5).epsilon(0.01));
    CHECK(kept(5) == 1.0F);
}

TEST_CASE("every tiling gives the same, and given latents keep what the network made") {
    Tinting tinting;
    const Image small = page(61, 30, 24, 7), large = page(244, 100, 90, 40);
    for (const hcflow::Tiling tiling : {hcflow::Tiling{1, 0}, {7, 2}, {16, 3}}) {
        CHECK(tinting.up(small, tiling).bytes() == tinting.up(small).bytes());
        CHECK(tinting.down(large, tiling).bytes() == tinting.down(large).bytes());
    }
    const hcflow::Model model = tinting.bundle.open();
    hcflow::Latents zeros = model.latent_shapes({61, 61});
    for (hcflow::Latent& z : zeros) z.values.assign(z.channels * z.height * z.width, 0.0F);
    CHECK(chroma(tinting.up(small, std::nullopt, &zeros), 200, 244) > 20);
}
