#include "gpu/engine_choice.hpp"

#include <algorithm>
#include <map>
#include <utility>

#include "core/error.hpp"
#include "gpu/automatic_precision.hpp"
#include "gpu/engine_files.hpp"
#include "gpu/session.hpp"
#include "system/file_trust.hpp"

namespace hcflow::gpu {
namespace {

namespace fs = std::filesystem;

/// The file for the kernels that TensorRT-RTX compiles at run time; empty: they are not kept.
fs::path runtime_cache(const std::string& cache, const EngineEntry& engine, const Machine& machine,
                       const Device& device) {
    if (cache.empty() || !ensure_private_folder(engine_folder(cache))) return {};
    return engine_folder(cache) / runtime_cache_name(engine, machine, device.name());
}

/// Engines of a bundle by their graph; graphs without any are left out.
using BundleEngines = std::map<const Graph*, std::vector<EngineFile>>;

/// The engines of a library, read once; those that cannot be read are left out.
BundleEngines library_engines(const Bundle& bundle, const Options& options,
                              const std::string& name) {
    BundleEngines found;
    for (const Precision precision : {Precision::fp32, Precision::fp16, Precision::fp8})
        for (const Graph* graph : bundle.preferred(precision, targets_of(name))) {
            try {
                for (EngineFile& each : engines_of(bundle, *graph, engine_folder(options.cache)))
                    if (each.entry.library == name) found[graph].push_back(std::move(each));
            } catch (const Error&) {  // told when an engine is opened
                continue;
            }
        }
    return found;
}

/// Those of them that fit a machine.
BundleEngines fitting(const BundleEngines& engines, const Machine& machine) {
    BundleEngines found;
    for (const auto& [graph, files] : engines)
        for (const EngineFile& each : files)
            if (!misfit(each.entry, machine)) found[graph].push_back(each);
    return found;
}

/// Throws Error (backend): no driver, no such GPU, or no library.
Machine this_machine(const Options& options, const std::string& name, LoadLibrary load) {
    const Device& device = Device::open(options.gpu);
    return {name, load()->version(), device.compute_capability()};
}

/// The engines of one graph that fit this machine, and what loads them.
struct Fitting {
    const Device& device;
    std::shared_ptr<Library> library;
    Machine machine;
    std::vector<EngineFile> engines;  // the one to prefer first
    std::string bundle;
    std::string cache;
};

/// Loads one of them, with others for shapes that it does not hold.
std::unique_ptr<EngineSession> open(const std::shared_ptr<const Fitting>& fitting,
                                    std::size_t index, EngineSession::Others others = {}) {
    const EngineFile& engine = fitting->engines.at(index);
    const Machine& machine = fitting->machine;
    const CurrentDevice current(fitting->device);
    return std::make_unique<EngineSession>(
        fitting->device,
        fitting->library->load(
            read_engine(engine), engine.path.u8string(),
            "compile one that fits: " +
                command(machine.library, fitting->bundle, machine.compute_capability),
            runtime_cache(fitting->cache, engine.entry, machine, fitting->device),
            engine.entry.version_compatible),
        engine.entry, fitting->bundle, std::move(others));
}

}  // namespace

std::unique_ptr<Session> open_engine(const OpenRequest& request, const std::string& name,
                                     LoadLibrary load) {
    const Device& device = Device::open(request.gpu);
    const CurrentDevice current(device);
    const std::shared_ptr<Library> library = load();
    const Machine machine{name, library->version(), device.compute_capability()};
    const auto engines = engines_of(request.bundle, request.graph, engine_folder(request.cache));
    const auto fits = std::make_shared<const Fitting>(
        Fitting{device, library, machine,
                fitting_engines(engines, machine, request.bundle, request.graph.tf32),
                request.bundle.folder().u8string(), request.cache});
    EngineSession::Others others;
    for (std::size_t i = 1; i < fits->engines.size(); ++i)
        others.entries.push_back(fits->engines[i].entry);
    others.open = [fits](std::size_t index) { return open(fits, index + 1); };
    return open(fits, 0, std::move(others));
}

Precision precision_of(const Bundle& bundle, const Options& options, const std::string& name,
                       LoadLibrary load) {
    if (options.precision != Precision::automatic) return options.precision;
    const BundleEngines all = library_engines(bundle, options, name);
    if (all.empty()) return Precision::fp32;  // needs neither driver nor library
    BundleEngines fits;
    try {
        fits = fitting(all, this_machine(options, name, load));
    } catch (const Error&) {  // told when an engine is opened
        fits.clear();
    }
    const BundleEngines& taken = fits.empty() ? all : fits;
    return automatic_precision(bundle, name, [&](const Graph& graph) {
        const auto found = taken.find(&graph);
        return found == taken.end() ? std::vector<EngineFile>{} : found->second;
    });
}

bool has_engines(const Bundle& bundle, const Options& options, const std::string& name,
                 LoadLibrary load) try {
    std::vector<std::pair<bool, std::vector<EngineFile>>> of_graphs;
    for (const Graph* graph : bundle.preferred(options.precision, targets_of(name)))
        of_graphs.emplace_back(graph->tf32,
                               engines_of(bundle, *graph, engine_folder(options.cache)));
    // Most bundles have no engines: then neither driver nor library is loaded.
    if (std::all_of(of_graphs.begin(), of_graphs.end(),
                    [](const auto& graph) { return graph.second.empty(); }))
        return false;
    const Machine machine = this_machine(options, name, load);
    for (const auto& [tf32, engines] : of_graphs)
        (void)fitting_engines(engines, machine, bundle, tf32);
    return true;
} catch (const Error&) {  // no driver, no library or no engine
    return false;
}

}  // namespace hcflow::gpu
