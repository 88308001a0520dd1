#include "gpu/engine_files.hpp"

#include <algorithm>
#include <numeric>
#include <tuple>

#include "core/error.hpp"
#include "core/sha256.hpp"
#include "hcflow/hcflow.hpp"
#include "system/file_trust.hpp"
#include "system/regular_file.hpp"

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

/// What is smaller is preferred: another TF32 than the graph's, the values of the largest inputs,
/// and the age, counted from no fixed time.
using Preference = std::tuple<bool, double, fs::file_time_type::duration>;

Preference preference(const EngineFile& engine, bool tf32) {
    double largest = 0;
    for (const Profile& profile : engine.entry.profiles) {
        double values = 0;  // as doubles: an entry may state sides whose product overflows
        for (const auto& [name, range] : profile)
            values += std::accumulate(range.largest.begin(), range.largest.end(), 1.0,
                                      [](double product, std::size_t side) {
                                          return product * static_cast<double>(side);
                                      });
        largest = std::max(largest, values);
    }
    std::error_code error;
    const auto made = fs::last_write_time(engine.path, error).time_since_epoch();
    // A missing file is told of when it is opened.
    const auto age = error ? fs::file_time_type::duration::max() : -made;
    return {engine.entry.tf32 != tf32, largest, age};
}

}  // namespace

fs::path engine_folder(const std::string& cache) {
    const fs::path base = fs::u8path(cache.empty() ? user_cache() : cache);
    return base.empty() ? base : base / "engines";
}

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
                                   "'" + sidecar.u8string() + "'"),
                cache);
        } catch (const Unreadable&) {  // as if there were none
        } catch (const Error&) {       // damaged: the engine will be compiled again
        }
    }
    const std::vector<std::string>& listed = bundle.manifest().engines;
    for (std::size_t i = 0; i < listed.size(); ++i) {
        const JsonDocument document(listed[i], "'" + bundle.folder().u8string() + "'",
                                    "not an engine's entry");
        const JsonReader json = document.root(concat("$.engines[", i, "]"));
        if (is_of_graph(json)) add(read_engine_entry(json), bundle.folder());
    }
    return engines;
}

std::vector<EngineFile> fitting_engines(const std::vector<EngineFile>& engines,
                                        const Machine& machine, const Bundle& bundle, bool tf32) {
    std::vector<std::string> reasons;
    std::vector<std::pair<Preference, EngineFile>> fits;
    for (const EngineFile& engine : engines) {
        const auto reason = misfit(engine.entry, machine);
        if (!reason)
            fits.emplace_back(preference(engine, tf32), engine);
        else if (engine.entry.library == machine.library)
            reasons.push_back(concat("engine '", engine.entry.file, "' does not fit: ", *reason));
    }
    if (fits.empty()) {
        if (reasons.empty())
            reasons = {
                concat("there is no ", title(machine.library), " engine of this graph here")};
        throw_error(
            ErrorCode::backend, join(reasons, "; "), "; compile one: ",
            command(machine.library, bundle.folder().u8string(), machine.compute_capability));
    }
    std::stable_sort(fits.begin(), fits.end(),
                     [](const auto& one, const auto& two) { return one.first < two.first; });
    std::vector<EngineFile> sorted;
    sorted.reserve(fits.size());
    for (auto& [rank, engine] : fits) sorted.push_back(std::move(engine));
    return sorted;
}

std::string read_engine(const EngineFile& engine) {
    std::string data = read_trusted_file(engine.path, kMostEngine);
    if (data.size() != engine.entry.bytes)
        throw_error(ErrorCode::backend, "engine '", engine.path.u8string(), "' has ", data.size(),
                    " bytes, its entry says ", engine.entry.bytes, ": truncated; compile it again");
    if (sha256(data.data(), data.size()) != engine.entry.sha256)
        throw_error(ErrorCode::backend, "engine '", engine.path.u8string(),
                    "' does not have its entry's SHA-256: damaged; compile it again");
    return data;
}

}  // namespace hcflow::gpu
