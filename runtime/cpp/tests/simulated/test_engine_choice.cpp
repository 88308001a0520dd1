// Which of several engines runs, what becomes of kernels compiled at run time, and the advice where
// no engine fits.
#include <doctest/doctest.h>

#include <chrono>
#include <fstream>
#include <iterator>

#include "engine_folder.hpp"
#include "gpu/engine_files.hpp"
#include "gpu_tensors.hpp"

namespace fs = std::filesystem;
namespace gpu = hcflow::gpu;
using hcflow::Pixel;
using tests::EngineFolder;
using tests::error_of;
using tests::fine;
using tests::GpuRun;
using tests::has;
using tests::noise;
using tests::tau;

namespace {

/// The files of the inverse graph's engines that fit, the preferred one first.
std::vector<std::string> chosen(const EngineFolder& folder, const std::string& capability = "8.9") {
    const hcflow::Bundle bundle = hcflow::Bundle::open(folder.path());
    const hcflow::Graph& graph = bundle.manifest().graphs[0];
    std::vector<std::string> files;
    for (const gpu::EngineFile& engine :
         gpu::fitting_engines(gpu::engines_of(bundle, graph, ""),
                              {"tensorrt-rtx", "1.7.1", capability}, bundle, graph.tf32))
        files.push_back(engine.entry.file);
    return files;
}

void set_age(const fs::path& file, int hours) {
    fs::last_write_time(file, fs::last_write_time(file) - std::chrono::hours(hours));
}

std::string content(const fs::path& file) {
    std::ifstream in(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace

TEST_CASE("the engine for the smallest shapes comes first, of equal ones the newest") {
    EngineFolder folder;
    const std::string first = "inverse.tensorrt-rtx.engine";
    folder.add(0, "small.engine", {"tensorrt-rtx", "", {{4, 1}}});
    folder.add(0, "older.engine", {"tensorrt-rtx", "", {{4, 1}}});
    folder.add(0, "huge.engine", {"tensorrt-rtx", "", {{4, 1}, {32, 1}}});
    folder.add(0, "other.engine", {}, [](nlohmann::json& e) { e["version"] = "1.6.0"; });
    set_age(folder.folder / "older.engine", 5);
    CHECK(chosen(folder) ==
          std::vector<std::string>{"small.engine", "older.engine", first, "huge.engine"});
    fs::remove(folder.folder / "small.engine");  // told of when it is read
    CHECK(chosen(folder).front() == "older.engine");
}

TEST_CASE("an engine with the graph's own TF32 is preferred") {
    EngineFolder folder;
    folder.add(0, "tf32.engine", {"tensorrt-rtx", "", {{1, 1}}},
               [](nlohmann::json& e) { e["tf32"] = true; });
    CHECK(chosen(folder).back() == "tf32.engine");
    folder.manifest["graphs"][0]["numerics"]["tf32"] = true;
    folder.write_manifest();
    CHECK(chosen(folder).front() == "tf32.engine");
}

TEST_CASE("sides whose product has no number, and profiles without shapes, end in no overflow") {
    EngineFolder folder;
    folder.add(0, "odd.engine", {}, [](nlohmann::json& e) {
        e["profiles"][0]["lr"]["largest"] = std::vector<std::int64_t>(9, (1LL << 53) - 1);
    });
    folder.add(0, "none.engine", {},
               [](nlohmann::json& e) { e["profiles"] = nlohmann::json::array(); });
    CHECK(chosen(folder).size() == 3);
}

TEST_CASE("a larger engine is loaded once shapes come that the first does not hold") {
    EngineFolder folder;
    folder.manifest["engines"] = nlohmann::json::array();
    folder.add(0, "large.engine", {"tensorrt-rtx", "", {{16, 1}}});
    folder.add(0, "small.engine", {"tensorrt-rtx", "", {{4, 1}}});
    const hcflow::Model model = folder.open(), exact = folder.open("null");
    const fs::path large = folder.folder / "large.engine";
    const std::string data = content(large);
    fs::remove(large);
    const auto upscale = [&](std::size_t side) {
        const hcflow::Image image = noise(side, side, 3, Pixel::u8);
        const hcflow::Image result = model.upscale(image.view(), tau(0.5));
        CHECK(result.bytes() == exact.upscale(image.view(), tau(0.5)).bytes());
    };
    upscale(4);
    CHECK(has(error_of([&] { upscale(9); }), "4: cannot read engine '" + large.string()));
    tests::write(large, data);
    upscale(9);
    upscale(4);
    const std::string error = error_of([&] { upscale(17); });
    CHECK(has(error, "is outside the engine's shapes (lr 1x3x1x1 to 1x3x4x4, "));
    CHECK(has(error, " or lr 1x3x1x1 to 1x3x16x16, "));
    fine();
}

TEST_CASE("an engine that does not hold the shapes is not loaded for them") {
    EngineFolder folder;
    folder.manifest["engines"] = nlohmann::json::array();
    for (const std::size_t side : {4U, 8U, 16U})
        folder.add(0, std::to_string(side) + ".engine", {"tensorrt-rtx", "", {{side, 1}}});
    const hcflow::Model model = folder.open(), exact = folder.open("null");
    fs::remove(folder.folder / "8.engine");
    const auto upscale = [&](std::size_t side) {
        const hcflow::Image image = noise(side, side, 3, Pixel::u8);
        const hcflow::Image result = model.upscale(image.view(), tau(0.5));
        CHECK(result.bytes() == exact.upscale(image.view(), tau(0.5)).bytes());
    };
    upscale(4);
    CHECK(has(error_of([&] { upscale(17); }),
              "is outside the engine's shapes (lr 1x3x1x1 to 1x3x4x4, z1 1x6x2x2 to 1x6x8x8, z2 "
              "1x21x1x1 to 1x21x4x4 or lr 1x3x1x1 to 1x3x8x8, "));
    upscale(9);  // by 16.engine; 8.engine cannot be read any more
    CHECK(has(error_of([&] { upscale(8); }), "4: cannot read engine '"));
    fine();
}

TEST_CASE("advice names this GPU, and TensorRT where TensorRT-RTX does not serve it") {
    EngineFolder folder("tensorrt-rtx",
                        [](nlohmann::json& e) { e["compute_capabilities"] = {"8.0"}; });
    const auto advice = [&](const std::string& capability) {
        return error_of([&] { (void)chosen(folder, capability); });
    };
    for (const std::string served : {"7.5", "8.6", "8.9", "12.0", "12.1"})
        CHECK(has(advice(served), "--engine tensorrt-rtx --compute-capability " + served));
    for (const std::string other : {"7.0", "8.7", "9.0", "10.0", "11.0"})
        CHECK(has(advice(other),
                  "--engine tensorrt (TensorRT-RTX serves no GPU of compute "
                  "capability " +
                      other + ")"));
}

TEST_CASE("kernels that TensorRT-RTX compiles are kept by runs on GPU memory too") {
    const EngineFolder folder;
    const fs::path cache = folder.folder / "cache", engines = cache / "engines";
    const hcflow::Model model = folder.open("tensorrt-rtx", cache.string());
    const GpuRun run;
    run.enqueue(model);
    REQUIRE(fs::exists(engines));
    const fs::path kept = fs::directory_iterator(engines)->path();
    CHECK(content(kept) == "kernels");
    tests::write(kept, "kernels of another process");
    run.enqueue(model);  // the same shape: nothing new is to be kept
    CHECK(content(kept) == "kernels of another process");
    run.stream.synchronise();
    fine();
}

TEST_CASE("two kinds of GPU keep their kernels in files of their own, with Python's names") {
    sim_machine(2, 13000, std::size_t{1} << 30U);
    const EngineFolder folder;
    const fs::path cache = folder.folder / "cache";
    for (const int number : {0, 1})
        (void)folder.open("tensorrt-rtx", cache.string(), number)
            .upscale(noise(4, 4, 3, Pixel::u8).view(), tau(0.5));
    sim_machine(1, 13000, std::size_t{1} << 30U);
    const std::string start =
        folder.manifest["engines"][0]["sha256"].get<std::string>().substr(0, 12) + ".1.7.1.8.9.";
    CHECK(fs::exists(cache / "engines" / (start + "simulated-gpu.runtime-cache")));
    CHECK(fs::exists(cache / "engines" / (start + "simulated-gpu-of-kind-1.runtime-cache")));
    fine();
}

TEST_CASE("a runtime cache that is cut short is replaced by a new one") {
    const EngineFolder folder;
    const fs::path cache = folder.folder / "cache", engines = cache / "engines";
    const auto run = [&] {
        (void)folder.open("tensorrt-rtx", cache.string())
            .upscale(noise(4, 4, 3, Pixel::u8).view(), tau(0.5));
    };
    run();
    const fs::path kept = fs::directory_iterator(engines)->path();
    tests::write(kept, "kern");
    run();
    CHECK(content(kept) == "kernels");
    CHECK(std::distance(fs::directory_iterator(engines), fs::directory_iterator()) == 1);
    fine();
}
