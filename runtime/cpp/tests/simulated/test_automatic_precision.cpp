// The precision that `automatic` takes on a GPU.
#include <doctest/doctest.h>

#include "engine_folder.hpp"

using hcflow::Precision;
using tests::EngineFolder;

namespace {

/// A bundle in fp32 and, within budget, in fp16 and fp8, without engines; graphs by number are
/// inverse and forward in fp32, in fp16, in fp8.
struct Precisions : EngineFolder {
    enum : std::size_t { kFp32 = 0, kFp16 = 2, kFp8 = 4 };

    Precisions() {
        manifest["engines"] = nlohmann::json::array();
        manifest["schema"] = 2;
        const nlohmann::json exact = manifest["graphs"];
        std::string digits = "abcd";
        for (const std::string precision : {"fp16", "fp8"})
            for (nlohmann::json graph : exact) {
                graph["precision"] = precision;
                graph["file"] = precision + "-" + graph["file"].get<std::string>();
                graph["sha256"] = std::string(64, digits.back());
                digits.pop_back();
                manifest[precision == "fp16" ? "graphs" : "more_graphs"].push_back(graph);
            }
        write_manifest();
    }

    void compile(std::size_t graph, const std::function<void(nlohmann::json&)>& change = {}) {
        nlohmann::json of =
            graph < kFp8 ? manifest["graphs"][graph] : manifest["more_graphs"][graph - kFp8];
        tests::EngineText made = tests::engine(of, {});
        made.sidecar["file"] = "engine-" + std::to_string(manifest["engines"].size());
        if (change) change(made.sidecar);
        tests::write(folder / made.sidecar["file"].get<std::string>(), made.data);
        manifest["engines"].push_back(made.sidecar);
        write_manifest();
    }

    void compile_both(std::size_t first, const std::function<void(nlohmann::json&)>& change = {}) {
        compile(first, change);
        compile(first + 1, change);
    }

    [[nodiscard]] Precision taken(const std::string& backend = "tensorrt-rtx") const {
        hcflow::Options options;
        options.backend = backend;
        options.precision = Precision::automatic;
        const hcflow::Model model = hcflow::Model::load(path(), options);
        hcflow::Report report;
        hcflow::UpscaleOptions upscale;
        upscale.report = &report;
        (void)model.upscale(tests::noise(4, 4, 3, hcflow::Pixel::u8).view(), upscale);
        return report.precision;
    }
};

std::function<void(nlohmann::json&)> program(std::int64_t bytes, std::int64_t fp8,
                                             std::int64_t fp16) {
    return [=](nlohmann::json& entry) {
        entry["program"] = {{"convolutions", {{"fp8", 1}}},
                            {"fused", 0},
                            {"others", 0},
                            {"bytes", bytes},
                            {"operations", {{"fp8", fp8}, {"fp16", fp16}}}};
    };
}

}  // namespace

TEST_CASE("automatic takes fp16 on a GPU if there are engines of it within budget") {
    Precisions folder;
    folder.compile_both(Precisions::kFp32);
    CHECK(folder.taken() == Precision::fp32);
    folder.compile(Precisions::kFp16);
    CHECK(folder.taken() == Precision::fp32);  // one direction alone
    folder.compile(Precisions::kFp16 + 1);
    CHECK(folder.taken() == Precision::fp16);
    CHECK(folder.taken("auto") == Precision::fp16);
    folder.manifest["graphs"][3]["within_budget"] = false;
    folder.write_manifest();
    CHECK(folder.taken() == Precision::fp32);
}

TEST_CASE("a direction without any engine does not decide") {
    Precisions folder;
    folder.compile(Precisions::kFp16);
    CHECK(folder.taken() == Precision::fp16);
}

TEST_CASE("engines in fp16 for another GPU do not count beside those that fit") {
    Precisions folder;
    const auto elsewhere = [](nlohmann::json& entry) { entry["compute_capabilities"] = {"7.5"}; };
    folder.compile_both(Precisions::kFp16, elsewhere);
    const std::string error = tests::error_of([&] { (void)folder.taken(); });
    CHECK(tests::has(error, "it was built for compute capability 7.5, this GPU has 8.9"));
    folder.compile_both(Precisions::kFp32);
    CHECK(folder.taken() == Precision::fp32);
}

TEST_CASE("automatic takes FP8 if its program is in FP8 and moves fewer bytes") {
    const auto with = [](const std::function<void(nlohmann::json&)>& low) {
        Precisions folder;
        folder.compile_both(Precisions::kFp16, program(100, 0, 100));
        folder.compile_both(Precisions::kFp8, low);
        return folder.taken();
    };
    CHECK(with(program(80, 95, 5)) == Precision::fp8);
    CHECK(with(program(95, 95, 5)) == Precision::fp16);
    CHECK(with(program(80, 50, 50)) == Precision::fp16);
    CHECK(with({}) == Precision::fp16);
}
