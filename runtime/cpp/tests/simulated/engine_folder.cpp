#include "engine_folder.hpp"

#include <doctest/doctest.h>

#include <sstream>

#include "core/sha256.hpp"

namespace tests {
namespace {

void put(std::ostream& out, const std::vector<std::size_t>& shape) {
    for (const std::size_t side : shape) out << ' ' << side;
}

}  // namespace

Ranges ranges(const std::string& direction, std::size_t side, std::size_t batch) {
    if (direction == "forward") return {{"hr", {{1, 3, 4, 4}, {batch, 3, 4 * side, 4 * side}}}};
    return {{"lr", {{1, 3, 1, 1}, {batch, 3, side, side}}},
            {"z1", {{1, 6, 2, 2}, {batch, 6, 2 * side, 2 * side}}},
            {"z2", {{1, 21, 1, 1}, {batch, 21, side, side}}}};
}

EngineText engine(const nlohmann::json& graph, const EngineKind& kind) {
    const std::string direction = graph["direction"];
    std::ostringstream text;
    text << "SIMULATED 8.9 " << direction << " 4 2 6 2 21 1 " << kind.profiles.size();
    nlohmann::json profiles = nlohmann::json::array();
    for (const auto& [side, batch] : kind.profiles) {
        const Ranges profile = ranges(direction, side, batch);
        text << ' ' << profile.size();
        nlohmann::json shapes = nlohmann::json::object();
        for (const auto& [name, range] : profile) {
            text << ' ' << name;
            put(text, range.first);
            put(text, range.second);
            shapes[name] = {
                {"smallest", range.first}, {"best", range.second}, {"largest", range.second}};
        }
        profiles.push_back(shapes);
    }
    text << " END " << kind.words;
    const std::string data = text.str();
    return {data,
            {{"file", direction + "." + kind.library + ".engine"},
             {"sha256", hcflow::sha256(data.data(), data.size())},
             {"bytes", data.size()},
             {"graph", graph["sha256"]},
             {"direction", direction},
             {"precision", graph["precision"]},
             {"latents", true},
             {"library", kind.library},
             {"version", kind.library == "tensorrt" ? "10.14.1.48" : "1.7.1.116"},
             {"compute_capabilities", {"8.9"}},
             {"profiles", profiles},
             {"tf32", false},
             {"version_compatible", false},
             {"hardware", "none"},
             {"refittable", false},
             {"optimization_level", nullptr},
             {"build_seconds", 1.5},
             {"memory", {{"scratch", nullptr}, {"weights", 5}, {"activations", nullptr}}},
             {"layers", nullptr}}};
}

EngineFolder::EngineFolder(const std::string& library,
                           const std::function<void(nlohmann::json&)>& change,
                           const std::string& words) {
    for (std::size_t i = 0; i < manifest["graphs"].size(); ++i)
        add(i, manifest["graphs"][i]["direction"].get<std::string>() + "." + library + ".engine",
            {library, words}, change);
}

void EngineFolder::add(std::size_t graph, const std::string& file, const EngineKind& kind,
                       const std::function<void(nlohmann::json&)>& change) {
    EngineText made = engine(manifest["graphs"][graph], kind);
    made.sidecar["file"] = file;
    if (change) change(made.sidecar);
    manifest["engines"].push_back(made.sidecar);
    write(folder / file, made.data);
    write_manifest();
}

void EngineFolder::write_manifest() const { write(folder / "manifest.json", manifest.dump()); }

hcflow::Model EngineFolder::open(const std::string& backend, const std::string& cache,
                                 int gpu) const {
    hcflow::Options options;
    options.gpu = gpu;
    options.backend = backend;
    options.cache = cache;
    return hcflow::Model::load(path(), options);
}

bool fine() {
    const std::string violation = sim_violation();
    CHECK(violation == "");
    return violation.empty();
}

}  // namespace tests
