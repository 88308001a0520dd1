// Which engines are found, and which are refused before a library loads them.
#include <doctest/doctest.h>

#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "core/sha256.hpp"
#include "engine_folder.hpp"
#include "system/file_trust.hpp"

namespace fs = std::filesystem;
using hcflow::Pixel;
using tests::BundleFolder;
using tests::EngineFolder;
using tests::error_of;
using tests::has;
using tests::noise;

namespace {

std::string upscale_error(const EngineFolder& folder, const std::string& backend = "tensorrt-rtx",
                          const std::string& cache = "") {
    return error_of(
        [&] { (void)folder.open(backend, cache).upscale(noise(4, 4, 3, Pixel::u8).view()); });
}

std::string with(const std::string& key, const nlohmann::json& value,
                 const std::string& library = "tensorrt-rtx") {
    return upscale_error(
        EngineFolder(library, [&](nlohmann::json& sidecar) { sidecar[key] = value; }), library);
}

}  // namespace

TEST_CASE("an engine of another version, GPU, library or graph is refused, with advice") {
    CHECK(with("version", "1.7.1.5") == "nothing");
    const std::string version = with("version", "1.6.0.5");
    CHECK(has(version,
              "4: engine 'inverse.tensorrt-rtx.engine' does not fit: it was built by "
              "TensorRT-RTX 1.6.0.5, not 1.7.1"));
    CHECK(has(version, "; compile one: hcflow compile '"));
    CHECK(has(with("compute_capabilities", {"7.5", "12.0"}),
              "it was built for compute capability 7.5, 12.0, this GPU has 8.9"));
    CHECK(has(with("graph", std::string(64, 'f')), "there is no TensorRT-RTX engine of this"));
    CHECK(has(upscale_error(EngineFolder("tensorrt"), "tensorrt-rtx"), "there is no TensorRT-RTX"));
}

TEST_CASE("TensorRT's compatibility options count") {
    CHECK(with("version", "10.3.0", "tensorrt") != "nothing");
    const auto error = [](const nlohmann::json& changes) {
        return upscale_error(
            EngineFolder("tensorrt", [&](nlohmann::json& s) { s.update(changes); }), "tensorrt");
    };
    CHECK(error({{"version", "10.3.0"}, {"version_compatible", true}}) == "nothing");
    CHECK(error({{"version", "10.14.1.48"}, {"version_compatible", true}}) == "nothing");
    CHECK(error({{"version", "10.14.2"}, {"version_compatible", true}}) != "nothing");
    CHECK(error({{"version", "9.3.0"}, {"version_compatible", true}}) != "nothing");
    CHECK(error({{"compute_capabilities", {"8.0"}}, {"hardware", "ampere+"}}) == "nothing");
    CHECK(error({{"compute_capabilities", {"8.0"}}}) != "nothing");
}

TEST_CASE("host code is allowed for version-compatible engines only") {
    for (const bool compatible : {true, false}) {
        const EngineFolder folder(
            "tensorrt", [&](nlohmann::json& s) { s["version_compatible"] = compatible; },
            "HOST-CODE");
        const std::string error = upscale_error(folder, "tensorrt");
        CHECK(has(error, compatible ? "nothing" : "does not load: host code is not allowed"));
    }
}

TEST_CASE("the error names the path of an invalid entry in the manifest") {
    CHECK(has(with("profiles", 1), "$.engines[0].profiles is 1; it must be an array"));
    CHECK(has(with("version", "1..2"), "it must be a version of numbers and dots"));
    CHECK(has(with("file", "../evil.engine"), "it must be a plain file name"));
    CHECK(has(with("hardware", "any"), "it must be one of none, ampere+, same-capability"));
    CHECK(has(with("bytes", 0), "$.engines[0].bytes is 0"));
}

TEST_CASE("an engine file that is truncated, altered, missing or not an engine is refused") {
    const EngineFolder folder;
    const fs::path file = folder.folder / "inverse.tensorrt-rtx.engine";
    const std::uintmax_t size = fs::file_size(file);
    fs::resize_file(file, size - 1);
    CHECK(has(upscale_error(folder), "its entry says"));
    tests::write(file, std::string(size, 'x'));
    CHECK(has(upscale_error(folder), "does not have its entry's SHA-256"));
    fs::remove(file);
    CHECK(has(upscale_error(folder), "4: cannot read engine '"));
    fs::create_directory(file);
    CHECK(has(upscale_error(folder), "4: cannot read engine '"));

    for (const std::string library : {"tensorrt", "tensorrt-rtx"}) {
        EngineFolder other(library);
        const std::string data = "not an engine";
        nlohmann::json& sidecar = other.manifest["engines"][0];
        sidecar["bytes"] = data.size();
        sidecar["sha256"] = hcflow::sha256(data.data(), data.size());
        tests::write(other.folder / sidecar["file"].get<std::string>(), data);
        other.write_manifest();
        CHECK(has(upscale_error(other, library), library == "tensorrt"
                                                     ? "does not load: magic tag does not match"
                                                     : "it is not an engine, or is damaged"));
    }
}

TEST_CASE("an engine that another user can write to is refused") {
    const EngineFolder folder;
    const fs::path file = folder.folder / "inverse.tensorrt-rtx.engine";
    fs::permissions(file, fs::perms::others_write, fs::perm_options::add);
    CHECK(has(upscale_error(folder), "can be written by everyone, and an engine is code"));
    fs::permissions(file, fs::perms::others_write, fs::perm_options::remove);
    fs::permissions(folder.folder, fs::perms::others_write, fs::perm_options::add);
    CHECK(has(upscale_error(folder), "can be written by everyone"));
    fs::permissions(folder.folder, fs::perms::others_write, fs::perm_options::remove);
    CHECK(upscale_error(folder) == "nothing");
    // In sticky folders such as /tmp others cannot replace files; on a file the bit has no meaning.
    fs::permissions(folder.folder, fs::perms(01777));
    CHECK(upscale_error(folder) == "nothing");
    fs::permissions(file, fs::perms(01646));
    CHECK(has(upscale_error(folder), "can be written by everyone"));
}

TEST_CASE("an engine below such a folder is refused, also through a link") {
    const BundleFolder home, elsewhere;
    EngineFolder folder;
    const fs::path outer = home.folder / "outer", inner = outer / "inner";
    fs::create_directory(outer);
    fs::rename(folder.folder, inner);
    folder.folder = inner;
    CHECK(upscale_error(folder) == "nothing");
    fs::permissions(outer, fs::perms::others_write, fs::perm_options::add);
    CHECK(has(upscale_error(folder), "'" + outer.string() + "' can be written by everyone"));
    fs::permissions(outer, fs::perms::others_write, fs::perm_options::remove);

    const fs::path file = inner / "inverse.tensorrt-rtx.engine", away = elsewhere.folder / "away";
    fs::create_directory(away);
    fs::rename(file, away / "engine");
    fs::create_symlink(away / "engine", file);
    CHECK(upscale_error(folder) == "nothing");
    fs::permissions(elsewhere.folder, fs::perms::others_write, fs::perm_options::add);
    CHECK(has(upscale_error(folder),
              "'" + elsewhere.folder.string() + "' can be written by everyone"));
}

TEST_CASE("an engine that a group can write to is refused") {
    if (geteuid() != 0) return;  // only root can give a file to a group that it is not in
    const EngineFolder folder;
    const fs::path file = folder.folder / "inverse.tensorrt-rtx.engine";
    for (const fs::path& place : {file, folder.folder}) {
        fs::permissions(place, fs::perms::group_write, fs::perm_options::add);
        CHECK(upscale_error(folder) == "nothing");  // root's own group
        REQUIRE(chown(place.c_str(), 0, 54321) == 0);
        CHECK(has(upscale_error(folder), "'" + place.string() + "' can be written by its group"));
        fs::permissions(place, fs::perms::group_write, fs::perm_options::remove);
        CHECK(upscale_error(folder) == "nothing");
        REQUIRE(chown(place.c_str(), 54321, 0) == 0);
        CHECK(has(upscale_error(folder), "'" + place.string() + "' belongs to another user"));
        REQUIRE(chown(place.c_str(), 0, 0) == 0);
    }
}

TEST_CASE("compiled programs are kept only in folders that no other user can write to") {
    const BundleFolder bundle;
    const fs::path cache = bundle.folder / "cache" / "engines";
    CHECK(hcflow::ensure_private_folder(cache));
    fs::permissions(cache.parent_path(), fs::perms::others_write, fs::perm_options::add);
    CHECK(!hcflow::ensure_private_folder(cache));
    fs::permissions(cache.parent_path(), fs::perms(01777));
    CHECK(hcflow::ensure_private_folder(cache));
}

TEST_CASE("the user's cache is searched first, and damaged entries are skipped") {
    EngineFolder folder;
    const fs::path cache = folder.folder / "cache", engines = cache / "engines";
    fs::create_directories(engines);
    const nlohmann::json sidecar = folder.manifest["engines"][0];
    const std::string prefix = sidecar["graph"].get<std::string>().substr(0, 12);
    folder.manifest["engines"] = nlohmann::json::array();
    folder.write_manifest();
    CHECK(upscale_error(folder, "tensorrt-rtx", cache.string()) != "nothing");
    fs::copy(folder.folder / sidecar["file"].get<std::string>(), engines);
    tests::write(engines / (prefix + ".a.json"), "{");
    tests::write(engines / (prefix + ".b.json"), sidecar.dump());
    CHECK(upscale_error(folder, "tensorrt-rtx", cache.string()) == "nothing");
    setenv("HCFLOW_CACHE", cache.c_str(), 1);
    CHECK(upscale_error(folder) == "nothing");
    unsetenv("HCFLOW_CACHE");
}

TEST_CASE("without a home folder, the current folder is not used as cache") {
    EngineFolder folder;
    const fs::path engines = folder.folder / "engines", before = fs::current_path();
    const nlohmann::json sidecar = folder.manifest["engines"][0];
    folder.manifest["engines"] = nlohmann::json::array();
    folder.write_manifest();
    fs::create_directory(engines);
    fs::copy(folder.folder / sidecar["file"].get<std::string>(), engines);
    tests::write(engines / (sidecar["graph"].get<std::string>().substr(0, 12) + ".json"),
                 sidecar.dump());
    const char* home = std::getenv("HOME");
    const std::string kept = home != nullptr ? home : "";
    for (const char* name : {"HCFLOW_CACHE", "XDG_CACHE_HOME", "HOME"}) unsetenv(name);
    fs::current_path(folder.folder);
    CHECK(hcflow::user_cache().empty());
    CHECK(has(upscale_error(folder), "4: there is no TensorRT-RTX engine of this graph here"));
    setenv("HOME", kept.c_str(), 1);
    CHECK(upscale_error(folder, "tensorrt-rtx", ".") == "nothing");  // given as cache, it is used
    fs::current_path(before);
}

TEST_CASE("kernels that TensorRT-RTX compiles are kept if a cache is given") {
    const EngineFolder folder;
    const fs::path cache = folder.folder / "cache", engines = cache / "engines";
    CHECK(upscale_error(folder) == "nothing");
    CHECK(!fs::exists(engines));
    CHECK(upscale_error(folder, "tensorrt-rtx", cache.string()) == "nothing");
    std::vector<fs::path> kept;
    for (const auto& entry : fs::directory_iterator(engines)) kept.push_back(entry.path());
    REQUIRE(kept.size() == 1);
    CHECK(has(kept[0].string(), ".1.7.1.8.9.simulated-gpu.runtime-cache"));
    tests::write(kept[0], "kernels of yesterday");
    CHECK(upscale_error(folder, "tensorrt-rtx", cache.string()) == "nothing");
    CHECK(std::string(sim_kernels()) == "kernels of yesterday");
}

TEST_CASE("auto uses engines that fit, else another backend") {
    const auto backend = [](const EngineFolder& folder) {
        std::string name;
        const std::string error = error_of([&] { name = folder.open("auto").backend(); });
        return error == "nothing" ? name : error;
    };
    CHECK(backend(EngineFolder()) == "tensorrt-rtx");
    CHECK(backend(EngineFolder("tensorrt")) == "tensorrt");
    const EngineFolder old("tensorrt", [](nlohmann::json& s) { s["version"] = "9.0.0"; });
    const auto others = hcflow::backends();
    const bool openvino = std::find(others.begin(), others.end(), "openvino") != others.end();
    CHECK(has(backend(old), openvino ? "openvino" : "4: no backend can run this bundle"));
    // Graphs of uint8 images are not supported, so they need no engine.
    EngineFolder bytes;
    nlohmann::json graph = bytes.manifest["graphs"][0];
    graph["io"] = "uint8";
    graph["sha256"] = std::string(64, '1');
    graph["file"] = "inverse.fp32.u8.onnx";
    bytes.manifest["graphs"].push_back(graph);
    bytes.write_manifest();
    CHECK(backend(bytes) == "tensorrt-rtx");
    EngineFolder one_way;
    one_way.manifest["engines"].erase(1);
    one_way.write_manifest();
    CHECK(backend(one_way) != "tensorrt-rtx");
}

TEST_CASE("auto uses another backend if an engine does not load") {
    const EngineFolder rtx;
    EngineFolder folder("tensorrt");
    for (const nlohmann::json& sidecar : rtx.manifest["engines"]) {
        folder.manifest["engines"].push_back(sidecar);
        fs::copy(rtx.folder / sidecar["file"].get<std::string>(), folder.folder);
    }
    folder.write_manifest();
    CHECK(folder.open("auto").backend() == "tensorrt");
    fs::permissions(folder.folder / "forward.tensorrt.engine", fs::perms::others_write,
                    fs::perm_options::add);
    const hcflow::Model model = folder.open("auto");
    CHECK(model.backend() == "tensorrt-rtx");
    CHECK(model.downscale(noise(8, 8, 3, Pixel::u8).view()).width() == 2);
    CHECK(has(upscale_error(folder, "tensorrt"),
              "nothing"));  // by name: only its inverse engine is loaded
}
