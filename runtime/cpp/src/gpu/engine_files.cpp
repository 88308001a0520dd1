#include "gpu/engine_files.hpp"

#include <algorithm>

#include "core/error.hpp"
#include "core/file_trust.hpp"
#include "core/regular_file.hpp"
#include "core/sha256.hpp"

namespace hcflow::gpu {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMostSidecar = std::uint64_t{1} << 20U;
constexpr std::uint64_t kMostEngine = std::uint64_t{4} << 30U;  // ten times the largest of ours

bool begins(const std::string& text, const std::string& with) {
    return text.compare(0, with.size(), with) == 0;
}

std::vector<fs::path> sidecars(const fs::path& cache, const std::string& prefix) {
    std::vector<fs::path> found;
    if (cache.empty()) return found;
    std::error_code error;
    for (fs::directory_iterator each(cache, error), end; !error && each != end;
         each.increment(error))
        if (each->path().extension() == ".json" && begins(each->path().filename().string(), prefix))
            found.push_back(each->path());
    std::sort(found.begin(), found.end());
    return found;
}

}  // namespace

std::vector<EngineFile> engines_of(const Bundle& bundle, const Graph& graph,
                                   const fs::path& cache) {
    std::vector<EngineFile> engines;
    // Known by its graph first: the entry of a graph that is unknown here may hold anything else.
    const auto is_of_graph = [&](const JsonReader& json) {
        return json["graph"].digest() == graph.sha256;
    };
    const auto add = [&](EngineEntry entry, const fs::path& folder) {
        if (entry.graph != graph.sha256) return;
        const fs::path path = folder / entry.file;
        engines.push_back({std::move(entry), path});
    };
    for (const fs::path& sidecar : sidecars(cache, graph.sha256.substr(0, 12) + ".")) {
        try {
            add(parse_engine_entry(RegularFile(sidecar).read(kMostSidecar),
                                   "'" + sidecar.string() + "'"),
                cache);
        } catch (const Unreadable&) {  // as if there were none
        } catch (const Error&) {       // damaged: the engine will be compiled again
        }
    }
    const std::vector<std::string>& listed = bundle.manifest().engines;
    for (std::size_t i = 0; i < listed.size(); ++i) {
        const JsonDocument document(listed[i], "'" + bundle.folder().string() + "'",
                                    "not an engine's entry");
        const JsonReader json = document.root(concat("$.engines[", i, "]"));
        if (is_of_graph(json)) add(read_engine_entry(json), bundle.folder());
    }
    return engines;
}

const EngineFile& choose_engine(const std::vector<EngineFile>& engines, const Machine& machine,
                                const Bundle& bundle) {
    std::vector<std::string> reasons;
    for (const EngineFile& engine : engines) {
        const auto reason = misfit(engine.entry, machine);
        if (!reason) return engine;
        if (engine.entry.library == machine.library)
            reasons.push_back(concat("engine '", engine.entry.file, "' does not fit: ", *reason));
    }
    if (reasons.empty())
        reasons = {"there is no " + machine.library + " engine of this graph here"};
    throw_error(ErrorCode::backend, join(reasons, "; "),
                "; compile one: ", command(machine.library, bundle.folder().string()));
}

std::string read_engine(const EngineFile& engine) {
    std::string data = read_trusted_file(engine.path, kMostEngine);
    if (data.size() != engine.entry.bytes)
        throw_error(ErrorCode::backend, "engine '", engine.path.string(), "' has ", data.size(),
                    " bytes, its entry says ", engine.entry.bytes, ": truncated; compile it again");
    if (sha256(data.data(), data.size()) != engine.entry.sha256)
        throw_error(ErrorCode::backend, "engine '", engine.path.string(),
                    "' does not have its entry's SHA-256: damaged; compile it again");
    return data;
}

}  // namespace hcflow::gpu
