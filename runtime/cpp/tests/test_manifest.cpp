// Invalid manifests are refused, and the error names what is wrong.
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "bundle/manifest.hpp"
#include "bundle_folder.hpp"

using nlohmann::json;
using tests::BundleFolder;
using tests::error_of;
using tests::has;

namespace {

std::string refusal(const std::string& text) {
    return error_of([&] { hcflow::parse_manifest(text, "'m'"); });
}

std::string refusal_of(const std::string& pointer, const json& value) {
    json manifest = BundleFolder().manifest;
    manifest[json::json_pointer(pointer)] = value;
    return refusal(manifest.dump());
}

}  // namespace

TEST_CASE("a manifest is read") {
    const hcflow::Manifest manifest = hcflow::parse_manifest(BundleFolder().manifest.dump(), "'m'");
    CHECK(manifest.name == "tiny_x4");
    CHECK(manifest.scale == 4);
    CHECK(manifest.levels.size() == 2);
    CHECK(manifest.graphs.size() == 2);
    CHECK(!manifest.graphs[0].tile);
}

TEST_CASE("an overlap much larger than its tile is refused") {
    json manifest = BundleFolder().manifest;
    manifest["graphs"][0]["tile"] = 8;
    manifest["graphs"][0]["overlap"] = 32;
    CHECK(refusal(manifest.dump()) == "nothing");
    manifest["graphs"][0]["overlap"] = 33;
    CHECK(has(refusal(manifest.dump()), "overlap is 33; it must be an integer, 32 or less"));
}

TEST_CASE("a border is read, is 0 without the key, and is bounded") {
    json manifest = BundleFolder().manifest;
    CHECK(hcflow::parse_manifest(manifest.dump(), "'m'").graphs[0].border == 0);
    manifest["graphs"][0]["border"] = 8;
    CHECK(hcflow::parse_manifest(manifest.dump(), "'m'").graphs[0].border == 8);
    manifest["graphs"][0]["border"] = 65;
    CHECK(has(refusal(manifest.dump()), "border is 65; it must be an integer, 64 or less"));
}

TEST_CASE("recorded grids begin with the graph's own, and their tiles get smaller") {
    json manifest = BundleFolder().manifest;
    json& graph = manifest["graphs"][0];
    const auto grid = [](int tile, int overlap) {
        return json{{"tile", tile}, {"overlap", overlap}};
    };
    graph["tile"] = 64;
    graph["overlap"] = 4;
    graph["grids"] = {grid(64, 4), grid(32, 6)};
    graph["neighbours"] = 0.01;
    const hcflow::Graph read = hcflow::parse_manifest(manifest.dump(), "'m'").graphs[0];
    CHECK(read.grids.size() == 2);
    CHECK(read.grids[1].tile == 32);
    CHECK(read.grids[1].overlap == 6);
    CHECK(read.neighbours == 0.01);
    for (const json& wrong : {json{grid(32, 6), grid(64, 4)}, json{grid(64, 5)},
                              json{grid(64, 4), grid(64, 4)}, json{grid(64, 4), grid(80, 4)}}) {
        graph["grids"] = wrong;
        CHECK(has(refusal(manifest.dump()), "the graph's tile and overlap, then smaller tiles"));
    }
    graph["grids"] = {grid(64, 4), grid(8, 33)};
    CHECK(has(refusal(manifest.dump()), "grids[1].overlap is 33; it must be an integer"));
}

TEST_CASE("the error names the path of an invalid value") {
    CHECK(has(refusal_of("/schema", 3), "2: 'm' was made by a newer hcflow-deploy (schema 3"));
    CHECK(has(refusal_of("/schema", "1"), "$.schema is \"1\"; it must be an integer, 1 or more"));
    CHECK(has(refusal_of("/schema", true), "$.schema is true; it must be an integer"));
    CHECK(has(refusal_of("/schema", 1.0), "$.schema is 1.0; it must be an integer"));
    CHECK(has(refusal_of("/schema", UINT64_MAX), "it must be an integer"));
    CHECK(has(refusal_of("/name", "a/b"), "$.name is \"a/b\"; it must be a name without slashes"));
    CHECK(has(refusal_of("/name", ""), "$.name is \"\""));
    CHECK(has(refusal_of("/name", "a\xC2\x9B"), "it must be a name without slashes"));
    CHECK(refusal_of("/name", "\xC3\x9B\xC2\xA9") == "nothing");
    CHECK(has(refusal_of("/scale", 65), "$.scale is 65; it must be an integer, 64 or less"));
    CHECK(has(refusal_of("/graphs/0/nodes", std::int64_t{1} << 54), "9007199254740992 or less"));
    CHECK(has(refusal_of("/task", "denoise"), "it must be one of rescaling, sr"));
    CHECK(has(refusal_of("/scale", 1), "$.scale is 1; it must be an integer"));
    CHECK(has(refusal_of("/scale", 8), "levels hold 45 values an LR pixel; scale 8 needs 189"));
    CHECK(has(refusal_of("/default_tau", -1), "it must be a number, 0 or more"));
    CHECK(has(refusal_of("/latents/levels/1/factor", 0), "$.latents.levels[1].factor is 0"));
    CHECK(has(refusal_of("/latents/levels/1/factor", 1000000000), "$.latents.levels[1].factor"));
    CHECK(has(refusal_of("/checkpoint/sha256", "abc"), "it must be a SHA-256"));
    CHECK(has(refusal_of("/tools", json::array({"onnx"})), "$.tools is [\"onnx\"]; it must be an"));
    CHECK(has(refusal_of("/graphs", nullptr), "$.graphs is null; it must be an array"));
    CHECK(has(refusal_of("/graphs", json::array()), "$.graphs holds no graph"));
    for (const char* place : {"/graphs/0/io", "/latents/scheme"})
        CHECK(has(refusal_of(place, "\x1B[2J"), "it must be a plain word"));
    CHECK(refusal_of("/graphs/0/losses", json::array({{{"case", "a"},
                                                       {"tau", 0},
                                                       {"psnr_fp32_db", nullptr},
                                                       {"loss_db", nullptr}}})) == "nothing");
    for (const char* name : {"../evil.onnx", "/etc/passwd", "a\\b", "..", ".hidden", "", "a b"})
        CHECK(has(refusal_of("/graphs/0/file", name), "it must be a plain file name"));
    CHECK(has(refusal_of("/graphs/0/precision", "fp64"), "it must be one of fp32, fp16, int8"));
    CHECK(has(refusal_of("/graphs/0/numerics/tf32", 0), "it must be true or false"));
    CHECK(has(refusal_of("/graphs/0/parity/0/psnr_db", "good"), "$.graphs[0].parity[0].psnr_db"));
    CHECK(has(refusal_of("/graphs/0/tile", -1), "$.graphs[0].tile is -1"));
    CHECK(has(refusal_of("/graphs/0/tile", 0), "$.graphs[0].tile is 0; it must be an integer, 1"));
    CHECK(has(refusal_of("/graphs/0/overlap", 1), "$.graphs[0].overlap is 1; it must be an"));
    CHECK(has(refusal_of("/graphs/0/deviations", 1), "$.graphs[0].deviations is 1"));
    CHECK(has(refusal_of("/vectors/file", "a/b.npz"), "$.vectors.file is \"a/b.npz\""));
    CHECK(has(refusal_of("/engines", json::array({1})), "$.engines[0] is 1; it must be an object"));
}

TEST_CASE("graphs of later schemas are read, and those of unknown kinds skipped") {
    json manifest = BundleFolder().manifest;
    json fp8 = manifest["graphs"][0];
    fp8["precision"] = "fp8";
    fp8["target"] = "rtx";
    json newer = fp8, elsewhere = fp8;
    newer["precision"] = "fp4";
    newer["opset"] = "a later word";
    elsewhere["target"] = "npu";
    manifest["more_graphs"] = json::array({newer, fp8, elsewhere});
    manifest["more_engines"] = json::array({{{"precision", "fp4"}}});
    const hcflow::Manifest read = hcflow::parse_manifest(manifest.dump(), "'m'");
    REQUIRE(read.graphs.size() == 3);
    CHECK(read.graphs[2].precision == hcflow::Precision::fp8);
    CHECK(read.graphs[2].target == hcflow::Target::rtx);
    CHECK(read.graphs[0].target == hcflow::Target::any);
    CHECK(read.engines.size() == 1);
    fp8["bytes"] = 0;
    manifest["more_graphs"] = json::array({fp8});
    CHECK(has(refusal(manifest.dump()), "$.more_graphs[0].bytes is 0"));
    manifest["more_graphs"][0]["precision"] = "\x1B[2J";
    CHECK(has(refusal(manifest.dump()), "$.more_graphs[0].precision is"));
    CHECK(has(refusal_of("/graphs/0/precision", "fp8"), "it must be one of fp32, fp16, int8"));
}

TEST_CASE("errors show keys on one line") {
    json manifest = BundleFolder().manifest;
    manifest["tools"]["\x1b[2J\xC2\x9B\n"] = 1;
    CHECK(has(refusal(manifest.dump()), "$.tools.\\u001b[2J\\u009b\\n is 1; it must be a string"));
}

TEST_CASE("the error names a missing key") {
    for (const char* key : {"schema", "name", "scale", "latents", "graphs", "vectors", "engines"}) {
        json manifest = BundleFolder().manifest;
        manifest.erase(key);
        CHECK(has(refusal(manifest.dump()), std::string("$.") + key + " is missing"));
    }
}

TEST_CASE("unknown keys are ignored") {
    CHECK(refusal_of("/colour", "blue") == "nothing");
    CHECK(refusal_of("/graphs/0/colour", "blue") == "nothing");
}

TEST_CASE("what is not a manifest is refused") {
    for (const std::string& text :
         {std::string(), std::string("[1"), std::string(1, '\0'), std::string("{\"schema\": NaN}"),
          std::string("\"text\""), std::string("\xEF\xBB\xBF{}"), std::string("{\"a\":\"\xff\"}"),
          std::string(100000, '['), std::string(100000, '[') + std::string(100000, ']')})
        CHECK(has(refusal(text), "2: 'm'"));
}

TEST_CASE("the fuzzer's corpus is read or refused") {
    std::size_t files = 0;
    for (const auto& entry : std::filesystem::directory_iterator(HCFLOW_CORPUS)) {
        std::ostringstream text;
        text << std::ifstream(entry.path(), std::ios::binary).rdbuf();
        const std::string answer = refusal(text.str());
        CHECK((answer == "nothing" || has(answer, "2: ")));
        ++files;
    }
    CHECK(files > 0);
}
