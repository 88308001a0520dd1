// What the entries of engines decide, for the comparison with Python. Reads lines, their fields
// separated by tabs, and writes a line for each:
// - LIBRARY, VERSION, COMPUTE CAPABILITY, ENTRY: why the engine does not fit, or "fits";
// - with the argument "precision": LIBRARY, BUNDLE: what `automatic` takes, if all engines fit;
// - with "runtime-cache": VERSION, COMPUTE CAPABILITY, GPU, SHA-256 of an engine: the file's name.
#include "gpu/engine_entry.hpp"

#include <iostream>
#include <string>

#include "gpu/automatic_precision.hpp"
#include "hcflow/hcflow.hpp"

namespace {

void write_precisions() {
    for (std::string library, path;
         std::getline(std::cin, library, '\t') && std::getline(std::cin, path);) {
        const hcflow::Bundle bundle = hcflow::Bundle::open(path);
        const auto engines = [&](const hcflow::Graph& graph) {
            return hcflow::gpu::engines_of(bundle, graph, "");
        };
        std::cout << to_string(hcflow::gpu::automatic_precision(bundle, library, engines)) << '\n';
    }
}

void write_runtime_caches() {
    hcflow::gpu::EngineEntry engine{};
    for (std::string version, capability, gpu;
         std::getline(std::cin, version, '\t') && std::getline(std::cin, capability, '\t') &&
         std::getline(std::cin, gpu, '\t') && std::getline(std::cin, engine.sha256);)
        std::cout << runtime_cache_name(engine, {"tensorrt-rtx", version, capability}, gpu) << '\n';
}

void write_misfits() {
    for (std::string library, version, capability, sidecar;
         std::getline(std::cin, library, '\t') && std::getline(std::cin, version, '\t') &&
         std::getline(std::cin, capability, '\t') && std::getline(std::cin, sidecar);) {
        try {
            const hcflow::gpu::EngineEntry engine = hcflow::gpu::parse_engine_entry(sidecar, "it");
            std::cout
                << hcflow::gpu::misfit(engine, {library, version, capability}).value_or("fits")
                << '\n';
        } catch (const hcflow::Error&) {
            std::cout << "not an entry\n";
        }
    }
}

}  // namespace

int main(int count, char** arguments) {
    const std::string what = count > 1 ? arguments[1] : "";
    if (what == "precision")
        write_precisions();
    else if (what == "runtime-cache")
        write_runtime_caches();
    else
        write_misfits();
}
