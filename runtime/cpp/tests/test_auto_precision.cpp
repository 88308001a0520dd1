// The precisions that `automatic` may use.
#include <doctest/doctest.h>

#include "bundle_folder.hpp"
#include "inference/auto_precision.hpp"

TEST_CASE("automatic uses INT8 if it is complete, within budget and fast") {
    using hcflow::Precision;
    nlohmann::json manifest = tests::BundleFolder().manifest;
    const auto graphs = manifest["graphs"];
    for (nlohmann::json graph : graphs) {
        graph["precision"] = "int8";
        graph["file"] = "int8-" + graph["file"].get<std::string>();
        manifest["graphs"].push_back(graph);
    }
    const auto taken = [&](const std::string& backend, const std::set<std::string>& flags) {
        return hcflow::automatic_precisions(hcflow::parse_manifest(manifest.dump(), "'m'"), backend,
                                            flags)
            .front();
    };
    for (const char* flag : {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"})
        CHECK(taken("openvino", {"avx2", flag}) == Precision::int8);
    CHECK(taken("openvino", {"avx2", "avx512f"}) == Precision::fp32);
    CHECK(taken("openvino", {"avx2"}) == Precision::int8);
    CHECK(taken("openvino", {"sse4_2"}) == Precision::fp32);
    CHECK(hcflow::int8_cost({"avx2", "avx512_vnni"}) == 0.42);
    CHECK(hcflow::int8_cost({"avx2"}) == 0.65);
    CHECK(!hcflow::int8_cost({}));
    CHECK(taken("tensorrt", {"avx512_vnni"}) == Precision::fp32);
    manifest["graphs"].back()["io"] = "uint8";
    CHECK(taken("openvino", {"avx512_vnni"}) == Precision::fp32);
    manifest["graphs"].back()["io"] = "float32";
    manifest["graphs"].back()["within_budget"] = false;
    CHECK(taken("openvino", {"avx512_vnni"}) == Precision::fp32);
    manifest["graphs"].erase(manifest["graphs"].size() - 1);
    CHECK(taken("openvino", {"avx512_vnni"}) == Precision::fp32);
}
