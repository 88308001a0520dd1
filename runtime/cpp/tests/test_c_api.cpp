// The C interface gives the same pixels, and errors instead of exceptions.
#include <doctest/doctest.h>

#include <cstring>

#include <thread>

#include "bundle_folder.hpp"
#include "hcflow/hcflow.h"

using tests::BundleFolder;
using tests::has;
using tests::noise;

namespace {

hcflow_image image_of(hcflow::View view) {
    hcflow_image image;
    hcflow_image_init(&image, sizeof image);
    image.data = view.data;
    image.width = view.width;
    image.height = view.height;
    image.channels = view.channels;
    image.type = static_cast<std::int32_t>(view.type);
    return image;
}

struct Opened {
    explicit Opened(const BundleFolder& bundle) {
        hcflow_options options;
        hcflow_options_init(&options, sizeof options);
        options.backend = "null";
        REQUIRE(hcflow_open(bundle.path().c_str(), &options, &model) == HCFLOW_OK);
    }
    Opened(const Opened&) = delete;
    Opened& operator=(const Opened&) = delete;
    ~Opened() { hcflow_close(model); }

    hcflow_model* model = nullptr;
};

}  // namespace

TEST_CASE("C and C++ give the same, latents included") {
    const BundleFolder bundle;
    const Opened opened(bundle);
    CHECK(hcflow_scale(opened.model) == 4);
    CHECK(hcflow_default_tau(opened.model) == 0);
    CHECK(std::string(hcflow_name(opened.model)) == "tiny_x4");
    CHECK(std::string(hcflow_backend(opened.model)) == "null");
    REQUIRE(hcflow_latent_count(opened.model) == 2);

    hcflow::Image large = noise(20, 12, 3, hcflow::Pixel::u8);
    hcflow::Image small(5, 3, 3, hcflow::Pixel::u8), again(20, 12, 3, hcflow::Pixel::u8);
    std::vector<std::vector<float>> z(2);
    float* pointers[2];
    for (std::size_t i = 0; i < 2; ++i) {
        std::size_t shape[3];
        REQUIRE(hcflow_latent_shape(opened.model, i + 1, 5, 3, shape) == HCFLOW_OK);
        z[i].resize(shape[0] * shape[1] * shape[2]);
        pointers[i] = z[i].data();
    }
    hcflow_run_options run;
    hcflow_run_options_init(&run, sizeof run);
    run.latents = pointers;
    run.latents_count = 2;
    const hcflow_image in = image_of(large.view()), out = image_of(small.view());
    const hcflow_image back = image_of(again.view());
    REQUIRE(hcflow_downscale(opened.model, &in, &out, &run) == HCFLOW_OK);
    REQUIRE(hcflow_upscale(opened.model, &out, &back, &run) == HCFLOW_OK);

    const hcflow::Reduced reduced = bundle.open().downscale_with_latents(large.view());
    CHECK(small.bytes() == reduced.image.bytes());
    CHECK(z[0] == reduced.latents[0].values);
    hcflow::UpscaleOptions options;
    options.latents = &reduced.latents;
    CHECK(again.bytes() == bundle.open().upscale(small.view(), options).bytes());

    run.latents_count = 1;
    CHECK(hcflow_upscale(opened.model, &out, &back, &run) == HCFLOW_ERROR_PARAMETER);
    run.latents_count = 2;
    pointers[1] = nullptr;
    CHECK(hcflow_upscale(opened.model, &out, &back, &run) == HCFLOW_ERROR_PARAMETER);
    CHECK(has(hcflow_last_error(), "latent z2 is null"));
    // The image is checked first: the latents of so large an image would be read out of bounds.
    pointers[1] = z[1].data();
    for (const std::size_t side : {std::size_t{1} << 32U, std::size_t{1} << 63U}) {
        hcflow_image huge = out;
        huge.width = side;
        CHECK(hcflow_upscale(opened.model, &huge, &back, &run) == HCFLOW_ERROR_IMAGE);
        CHECK(has(hcflow_last_error(), "a side has at most 2^31 pixels"));
    }
    hcflow_image none = out;
    none.data = nullptr;
    none.width = std::size_t{1} << 31U;
    CHECK(hcflow_upscale(opened.model, &none, &back, &run) == HCFLOW_ERROR_IMAGE);
}

TEST_CASE("null pointers, zero sizes and empty structures are errors in C") {
    const BundleFolder bundle;
    const Opened opened(bundle);
    hcflow_model* model = opened.model;
    CHECK(hcflow_open(nullptr, nullptr, &model) == HCFLOW_ERROR_PARAMETER);
    CHECK(model == nullptr);
    CHECK(has(hcflow_last_error(), "path is null"));
    CHECK(hcflow_open(bundle.path().c_str(), nullptr, nullptr) == HCFLOW_ERROR_PARAMETER);
    CHECK(hcflow_open("/nowhere", nullptr, &model) != HCFLOW_OK);

    hcflow::Image pixels = noise(4, 4, 3, hcflow::Pixel::u8);
    hcflow_image good = image_of(pixels.view()), bad = good;
    CHECK(hcflow_upscale(nullptr, &good, &good, nullptr) == HCFLOW_ERROR_PARAMETER);
    CHECK(hcflow_upscale(opened.model, nullptr, &good, nullptr) == HCFLOW_ERROR_PARAMETER);
    CHECK(hcflow_upscale(opened.model, &good, nullptr, nullptr) == HCFLOW_ERROR_PARAMETER);
    CHECK(hcflow_downscale(nullptr, &good, &good, nullptr) == HCFLOW_ERROR_PARAMETER);
    bad.data = nullptr;
    CHECK(hcflow_upscale(opened.model, &bad, &good, nullptr) == HCFLOW_ERROR_IMAGE);
    bad = good;
    bad.width = 0;
    CHECK(hcflow_upscale(opened.model, &bad, &good, nullptr) == HCFLOW_ERROR_IMAGE);
    bad = good;
    bad.stride = 11;
    CHECK(hcflow_downscale(opened.model, &bad, &good, nullptr) == HCFLOW_ERROR_IMAGE);
    bad = good;
    bad.struct_size = 0;
    CHECK(hcflow_upscale(opened.model, &bad, &good, nullptr) == HCFLOW_ERROR_PARAMETER);
    CHECK(has(hcflow_last_error(), "fill it with hcflow_image_init first"));
    hcflow_run_options run{};
    CHECK(hcflow_upscale(opened.model, &good, &good, &run) == HCFLOW_ERROR_PARAMETER);
    hcflow_run_options_init(&run, sizeof run);
    run.tau = std::stod("nan");
    hcflow::Image large(16, 16, 3, hcflow::Pixel::u8);
    const hcflow_image out = image_of(large.view());
    CHECK(hcflow_upscale(opened.model, &good, &out, &run) == HCFLOW_ERROR_PARAMETER);

    std::size_t shape[3];
    CHECK(hcflow_latent_shape(opened.model, 0, 1, 1, shape) == HCFLOW_ERROR_PARAMETER);
    CHECK(hcflow_latent_shape(opened.model, 3, 1, 1, shape) == HCFLOW_ERROR_PARAMETER);
    CHECK(hcflow_latent_shape(opened.model, 1, 1, 1, nullptr) == HCFLOW_ERROR_PARAMETER);
    constexpr std::size_t kHuge = std::size_t{1} << 31U;
    CHECK(hcflow_latent_shape(opened.model, 1, kHuge, 1, shape) == HCFLOW_OK);
    CHECK(shape[2] == 2 * kHuge);
    CHECK(hcflow_latent_shape(opened.model, 1, kHuge, kHuge, shape) == HCFLOW_ERROR_PARAMETER);
    CHECK(hcflow_latent_shape(opened.model, 1, SIZE_MAX, 0, shape) == HCFLOW_ERROR_PARAMETER);
    CHECK(has(hcflow_last_error(), "they do not fit into memory"));
    CHECK(hcflow_scale(nullptr) == 0);
    CHECK(hcflow_latent_count(nullptr) == 0);
    CHECK(std::string(hcflow_name(nullptr)).empty());
    hcflow_close(nullptr);
    hcflow_options_init(nullptr, 64);
}

TEST_CASE("a shorter structure of an older caller gets defaults for the rest") {
    const BundleFolder bundle;
    const Opened opened(bundle);
    hcflow::Image small = noise(4, 4, 3, hcflow::Pixel::u8), large(16, 16, 3, hcflow::Pixel::u8);
    const hcflow_image in = image_of(small.view()), out = image_of(large.view());
    hcflow_run_options run;
    std::memset(&run, 0x5a, sizeof run);
    hcflow_run_options_init(&run, offsetof(hcflow_run_options, seed));
    CHECK(run.struct_size == offsetof(hcflow_run_options, seed));
    CHECK(run.seed == 0x5a5a5a5a5a5a5a5aU);  // beyond struct_size: neither written nor read
    CHECK(run.own_grid != 0);
    CHECK(hcflow_upscale(opened.model, &in, &out, &run) == HCFLOW_OK);
}

TEST_CASE("members of a structure keep their place from version to version") {
    CHECK(offsetof(hcflow_image, type) == 44);
    CHECK(sizeof(hcflow_image) == 48);
    CHECK(offsetof(hcflow_options, gpu) == 32);
    CHECK(sizeof(hcflow_options) == 40);
    CHECK(offsetof(hcflow_run_options, tau) == 8);
    CHECK(offsetof(hcflow_run_options, latents) == 48);
    CHECK(offsetof(hcflow_run_options, precision_used) == 88);
    CHECK(offsetof(hcflow_run_options, cancel) == 96);
    CHECK(sizeof(hcflow_run_options) == 112);
}

#if defined(__x86_64__) && defined(__GLIBCXX__)
TEST_CASE("a change of a C++ structure raises the version of the binary interface") {
    CHECK(HCFLOW_ABI_VERSION == 3);  // raise it, in api.h, if a size below changes
    CHECK(sizeof(hcflow::Options) == 80);
    CHECK(sizeof(hcflow::UpscaleOptions) == 128);
    CHECK(sizeof(hcflow::DownscaleOptions) == 64);
    CHECK(sizeof(hcflow::Report) == 72);
    CHECK(sizeof(hcflow::Image) == 48);
}
#endif

TEST_CASE("each thread has its own last error") {
    CHECK(hcflow_open(nullptr, nullptr, nullptr) == HCFLOW_ERROR_PARAMETER);
    std::string other = "?";
    std::thread([&] { other = hcflow_last_error(); }).join();
    CHECK(other.empty());
    CHECK(has(hcflow_last_error(), "model is null"));
    CHECK(has(hcflow_backends(), "null"));
    CHECK(std::string(hcflow_version()) == hcflow::version());
}
