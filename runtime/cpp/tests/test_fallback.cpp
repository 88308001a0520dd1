// A tile with invalid output is run again: in fp32, then at tau = 0; else the call fails.
#include <doctest/doctest.h>

#include <cmath>

#include "bundle_folder.hpp"
#include "hcflow/hcflow.hpp"
#include "inference/downscale.hpp"
#include "inference/network.hpp"
#include "inference/upscale.hpp"

using hcflow::Feed;
using hcflow::Image;
using hcflow::Pixel;
using hcflow::Report;
using hcflow::Tensor;
using tests::BundleFolder;
using tests::error_of;
using tests::has;

namespace {

enum class Fault { none, nan, saturation, nan_with_latents };

/// The null backend with a fault wherever the image is white.
template <Fault below_fp32, Fault in_fp32>
std::unique_ptr<hcflow::Session> open_faulty(const hcflow::OpenRequest& request) {
    class Faulty : public hcflow::Session {
      public:
        Faulty(std::unique_ptr<hcflow::Session> sound, Fault fault)
            : sound_(std::move(sound)), fault_(fault) {}

        std::vector<Tensor> run(const std::vector<Feed>& feeds) override {
            std::vector<Tensor> outputs = sound_->run(feeds);
            bool latents = false;
            for (std::size_t i = 1; i < feeds.size(); ++i)
                for (std::size_t k = 0; k < hcflow::elements(feeds[i].shape); ++k)
                    latents = latents || feeds[i].values[k] != 0;
            const bool white = feeds[0].values[0] == 1.0F;
            if (!white || fault_ == Fault::none || (fault_ == Fault::nan_with_latents && !latents))
                return outputs;
            const std::size_t count = hcflow::elements(outputs[0].shape);
            std::vector<float> values(outputs[0].values.get(), outputs[0].values.get() + count);
            values[count / 2] = fault_ == Fault::saturation ? 65504.0F : std::nanf("");
            outputs[0] = Tensor::own(outputs[0].name, outputs[0].shape, std::move(values));
            return outputs;
        }

      private:
        std::unique_ptr<hcflow::Session> sound_;
        Fault fault_;
    };
    const bool exact = request.graph.precision == hcflow::Precision::fp32;
    return std::make_unique<Faulty>(hcflow::open_null(request), exact ? in_fp32 : below_fp32);
}

std::string half_file(std::string file) { return file.replace(file.find("fp32"), 4, "fp16"); }

/// A bundle with fp16 and fp32 graphs.
struct WithHalf : BundleFolder {
    WithHalf()
        : BundleFolder([](nlohmann::json& m) {
              for (std::size_t i = 0; i < 2; ++i) {
                  nlohmann::json half = m["graphs"][i];
                  half["precision"] = "fp16";
                  half["file"] = half_file(half["file"]);
                  m["graphs"].push_back(half);
              }
          }) {
        for (std::size_t i = 0; i < 2; ++i) {
            const std::string file = manifest["graphs"][i]["file"];
            std::filesystem::copy(folder / file, folder / half_file(file));
        }
    }
};

/// Eight columns, the right half white: the second of two tiles has the fault.
Image half_white() {
    Image image(8, 4, 3, Pixel::u8);
    auto* bytes = static_cast<unsigned char*>(image.view().data);
    for (std::size_t i = 0; i < 8 * 4 * 3; ++i) bytes[i] = i / 3 % 8 >= 4 ? 255 : 60;
    return image;
}

struct Outcome {
    std::string error;
    Report report;
    Image image;
};

Outcome upscaled(const BundleFolder& bundle, hcflow::Opener open, hcflow::Precision precision,
                 double tau) {
    hcflow::Options options;
    options.precision = precision;
    hcflow::Network network(hcflow::Bundle::open(bundle.path()), open, "faulty", options);
    Outcome outcome{{}, {}, Image(32, 16, 3, Pixel::f32)};
    hcflow::UpscaleOptions run;
    run.tau = tau;
    run.tiling = hcflow::Tiling{4, 0};
    run.report = &outcome.report;
    outcome.error =
        error_of([&] { upscale_into(network, half_white().view(), outcome.image.view(), run); });
    return outcome;
}

constexpr auto kHalf = hcflow::Precision::fp16;
constexpr auto kFull = hcflow::Precision::fp32;

}  // namespace

TEST_CASE("a tile that overflows in fp16 is computed in fp32, and only that tile") {
    const WithHalf bundle;
    const Outcome expected = upscaled(bundle, open_faulty<Fault::none, Fault::none>, kFull, 0.5);
    CHECK(expected.report.healed.empty());
    CHECK(expected.report.tiles == 2);
    for (const auto open :
         {open_faulty<Fault::nan, Fault::none>, open_faulty<Fault::saturation, Fault::none>}) {
        const Outcome outcome = upscaled(bundle, open, kHalf, 0.5);
        CHECK(outcome.error == "nothing");
        REQUIRE(outcome.report.healed.size() == 1);
        CHECK(outcome.report.tiles == 2);
        CHECK(outcome.report.healed[0].column == 1);
        CHECK(outcome.report.healed[0].how == "fp32");
        CHECK(outcome.image.bytes() == expected.image.bytes());
    }
}

TEST_CASE("a tile that is invalid in fp32 too is computed at tau = 0") {
    const WithHalf bundle;
    const auto open = open_faulty<Fault::nan, Fault::nan_with_latents>;
    for (const auto precision : {kHalf, kFull}) {
        const Outcome outcome = upscaled(bundle, open, precision, 0.5);
        CHECK(outcome.error == "nothing");
        REQUIRE(outcome.report.healed.size() == 1);
        CHECK(outcome.report.healed[0].how == "fp32 at tau = 0");
        CHECK(outcome.report.healed[0].reason == "NaN or infinity in 'hr'");
    }
}

TEST_CASE("if every fallback fails, the error names the tile") {
    const WithHalf bundle;
    const Outcome failed = upscaled(bundle, open_faulty<Fault::nan, Fault::nan>, kHalf, 0.5);
    CHECK(has(failed.error, "4: 'inverse.fp32."));
    CHECK(has(failed.error, "gave NaN or infinity in 'hr' on tile 0,1"));
    CHECK(has(failed.error, "columns 4 to 8"));
    // Saturation counts below fp32 only: fp32 may be far outside [0, 1].
    CHECK(upscaled(bundle, open_faulty<Fault::none, Fault::saturation>, kFull, 0).error ==
          "nothing");
}

TEST_CASE("a fallback that cannot run tells what was wrong with the tile, and why it cannot") {
    const WithHalf bundle;
    const auto half_alone = [](const hcflow::OpenRequest& request) {
        if (request.graph.precision == kFull)
            throw hcflow::Error(hcflow::ErrorCode::backend,
                                "there is no engine of this graph here");
        return open_faulty<Fault::nan, Fault::none>(request);
    };
    const Outcome failed = upscaled(bundle, half_alone, kHalf, 0.5);
    CHECK(has(failed.error, "4: 'inverse.fp16."));
    CHECK(has(failed.error,
              "gave NaN or infinity in 'hr' on tile 0,1 (low-resolution rows 0 to 4, columns 4 to "
              "8), and it cannot be computed as fp32: there is no engine of this graph here"));
    const auto none = [](const hcflow::OpenRequest&) -> std::unique_ptr<hcflow::Session> {
        throw hcflow::Error(hcflow::ErrorCode::backend, "there is no engine of this graph here");
    };
    CHECK(upscaled(bundle, none, kHalf, 0.5).error == "4: there is no engine of this graph here");
}

TEST_CASE("downscaling has a fallback too, and reports it") {
    const WithHalf bundle;
    hcflow::Options options;
    options.precision = kHalf;
    hcflow::Network network(hcflow::Bundle::open(bundle.path()),
                            open_faulty<Fault::nan, Fault::none>, "faulty", options);
    Image white(8, 8, 3, Pixel::u8), small(2, 2, 3, Pixel::u8);
    std::fill_n(static_cast<unsigned char*>(white.view().data), 8 * 8 * 3, std::uint8_t{255});
    Report report;
    downscale_into(network, white.view(), small.view(), {{}, &report}, nullptr);
    REQUIRE(report.healed.size() == 1);
    CHECK(report.healed[0].how == "fp32");
    CHECK(small.bytes() == std::vector<unsigned char>(12, 255));
}
