// A bundle's files are checked at their first use: altered, missing and outside files are refused.
#include <doctest/doctest.h>

#include <filesystem>

#include "bundle/bundle.hpp"
#include "bundle_folder.hpp"
#include "core/sha256.hpp"
#include "hcflow/hcflow.hpp"
#include "session.hpp"

namespace fs = std::filesystem;
using hcflow::Pixel;
using tests::BundleFolder;
using tests::error_of;
using tests::has;

namespace {

fs::path inverse(const BundleFolder& bundle) {
    return bundle.folder / bundle.manifest["graphs"][0]["file"].get<std::string>();
}

std::string upscale_error(const hcflow::Model& model) {
    return error_of([&] { (void)model.upscale(tests::noise(3, 2, 3, Pixel::u8).view()); });
}

}  // namespace

TEST_CASE("a bundle opens by its folder and by its manifest") {
    const BundleFolder bundle;
    CHECK(bundle.open().name() == "tiny_x4");
    hcflow::Options null;
    null.backend = "null";
    CHECK(hcflow::Model::load(bundle.path() + "/manifest.json", null).scale() == 4);
}

TEST_CASE("what is not a bundle is refused") {
    const BundleFolder bundle;
    const auto open = [](const std::string& path) {
        return error_of([&] { hcflow::Bundle::open(path); });
    };
    CHECK(has(open(bundle.path() + "/nowhere"), "2: no bundle at"));
    CHECK(has(open(""), "2: no bundle at"));
    CHECK(has(open(inverse(bundle).string()), "is a file: give the bundle's folder"));
    fs::create_directory(bundle.folder / "empty");
    CHECK(has(open(bundle.path() + "/empty"), "it has no manifest.json"));
    fs::create_directories(bundle.folder / "odd" / "manifest.json");
    CHECK(has(open(bundle.path() + "/odd"), "it is not a file"));
    fs::resize_file(bundle.folder / "manifest.json", (4U << 20U) + 1);
    CHECK(has(open(bundle.path()), "is not a manifest: it is larger than 4 MiB"));
}

TEST_CASE("altered, truncated, missing and linked files are refused") {
    const BundleFolder bundle;
    const std::string good = "no network, inverse";
    tests::write(inverse(bundle), "no network, inversE");
    CHECK(has(upscale_error(bundle.open()), "does not have the SHA-256 in the manifest"));
    tests::write(inverse(bundle), "no");
    CHECK(has(upscale_error(bundle.open()), "has 2 bytes, the manifest says 19: incomplete"));
    fs::remove(inverse(bundle));
    CHECK(has(upscale_error(bundle.open()), "is missing: fetch or build the bundle again"));
    const BundleFolder other;
    if (tests::make_link(inverse(other), inverse(bundle))) {
        CHECK(has(upscale_error(bundle.open()), "is a link that leaves the bundle"));
        fs::remove(inverse(bundle));
    }
    tests::write(inverse(bundle), good);
    CHECK(upscale_error(bundle.open()) == "nothing");
}

TEST_CASE("a pipe in place of a bundle's file is refused at once") {
    const BundleFolder bundle;
    fs::remove(inverse(bundle));
    if (!tests::make_pipe(inverse(bundle))) return;
    CHECK(has(upscale_error(bundle.open()), "it is not a file"));
    fs::remove(bundle.folder / "manifest.json");
    REQUIRE(tests::make_pipe(bundle.folder / "manifest.json"));
    CHECK(has(error_of([&] { hcflow::Bundle::open(bundle.path()); }), "it is not a file"));
}

TEST_CASE("a sparse file of 40 GiB is not read, whatever the manifest says") {
    static constexpr std::uint64_t kHuge = std::uint64_t{40} << 30U;
    const BundleFolder honest, lying([](nlohmann::json&m) { m["graphs"][0]["bytes"] = kHuge; });
    for (const BundleFolder* bundle : {&honest, &lying}) fs::resize_file(inverse(*bundle), kHuge);
    CHECK(has(upscale_error(honest.open()), "has 42949672960 bytes, the manifest says 19"));
    CHECK(has(upscale_error(lying.open()), "it has 42949672960 bytes, the limit is 2147483647"));
}

TEST_CASE("a graph with weights in another file is refused") {
    const std::string graph = "no network; location: weights.bin";
    const BundleFolder bundle([&](nlohmann::json& manifest) {
        manifest["graphs"][0]["sha256"] = hcflow::sha256(graph.data(), graph.size());
        manifest["graphs"][0]["bytes"] = graph.size();
    });
    tests::write(inverse(bundle), graph);
    CHECK(has(upscale_error(bundle.open()), "stores weights in another file: refused"));
}

TEST_CASE("changes to a bundle's files do not affect loaded graphs") {
    const BundleFolder bundle;
    const hcflow::Model model = bundle.open();
    CHECK(upscale_error(model) == "nothing");
    tests::write(inverse(bundle), "something else");
    tests::write(bundle.folder / "manifest.json", "{");
    CHECK(upscale_error(model) == "nothing");
    fs::remove_all(bundle.folder);
    CHECK(upscale_error(model) == "nothing");
    // The other direction has not been read yet.
    CHECK(has(error_of([&] { (void)model.downscale(tests::noise(8, 8, 3, Pixel::u8).view()); }),
              "2: "));
}

TEST_CASE("a failed load is tried again") {
    const BundleFolder bundle;
    const hcflow::Model model = bundle.open();
    fs::rename(inverse(bundle), bundle.folder / "away");
    CHECK(has(upscale_error(model), "is missing"));
    fs::rename(bundle.folder / "away", inverse(bundle));
    CHECK(upscale_error(model) == "nothing");
}

TEST_CASE("the error names what a bundle lacks") {
    const BundleFolder up([](nlohmann::json& m) { m["graphs"].erase(1); });
    CHECK(has(error_of([&] { (void)up.open().downscale(tests::noise(8, 8, 3, Pixel::u8).view()); }),
              "no forward graph: build it with --direction forward"));
    hcflow::Options fp16;
    fp16.backend = "null";
    fp16.precision = hcflow::Precision::fp16;
    CHECK(has(upscale_error(hcflow::Model::load(up.path(), fp16)), "in fp32, not in fp16"));
    const BundleFolder newer([](nlohmann::json& m) { m["graphs"][0]["contract"] = 2; });
    CHECK(has(upscale_error(newer.open()), "contract 2 with float32 inputs"));
    const BundleFolder bytes([](nlohmann::json& m) { m["graphs"][0]["io"] = "uint8"; });
    CHECK(has(upscale_error(bytes.open()),
              "uint8 inputs; this library supports contract 1 with "
              "float32: build the bundle without --io uint8"));
    const BundleFolder scheme([](nlohmann::json& m) {
        m["latents"]["scheme"] = "dice";
        m["default_tau"] = 0.5;
    });
    CHECK(has(upscale_error(scheme.open()), "draws latents by 'dice'"));
    const BundleFolder plain([](nlohmann::json& m) {
        m["graphs"][0]["latents"] = false;
        m["default_tau"] = 0.5;
    });
    CHECK(has(upscale_error(plain.open()), "was built for tau = 0"));
}

TEST_CASE("only TensorRT is given graphs that were made for TensorRT-RTX") {
    using hcflow::Direction;
    using hcflow::Precision;
    using hcflow::Target;
    using hcflow::targets_of;
    const BundleFolder folder([](nlohmann::json& manifest) {
        nlohmann::json half = manifest["graphs"][0];
        half["precision"] = "fp16";
        manifest["graphs"].push_back(half);
        half["target"] = "rtx";
        nlohmann::json fp8 = half;
        fp8["precision"] = "fp8";
        manifest["more_graphs"] = nlohmann::json::array({half, fp8});
    });
    const hcflow::Bundle bundle = hcflow::Bundle::open(folder.path());
    const auto target = [&](const std::string& backend, Precision precision) {
        return bundle.graph(Direction::inverse, precision, true, targets_of(backend)).target;
    };
    CHECK(target("openvino", Precision::fp16) == Target::any);
    CHECK(target("tensorrt", Precision::fp16) == Target::any);
    CHECK(target("tensorrt-rtx", Precision::fp16) == Target::rtx);
    CHECK(target("tensorrt-rtx", Precision::fp32) == Target::any);
    CHECK(target("tensorrt", Precision::fp8) == Target::rtx);
    CHECK(has(error_of([&] { (void)target("openvino", Precision::fp8); }),
              "has its inverse fp8 graph for rtx alone: use the backend tensorrt-rtx"));
    CHECK(!bundle.has(Direction::inverse, Precision::fp8));
    CHECK(bundle.preferred(Precision::fp16, targets_of("tensorrt-rtx")).size() == 1);
    CHECK(bundle.preferred(Precision::fp8, targets_of("openvino")).empty());
}
