// The engines of a graph, in the user's cache and in the bundle
// (runtime/bundle/engines/cache.py).
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "bundle/bundle.hpp"
#include "gpu/engine_entry.hpp"

namespace hcflow::gpu {

struct EngineFile {
    EngineEntry entry;
    std::filesystem::path path;
};

/// The folder of compiled engines in a cache, or in the user's where that is empty; empty if none
/// is known, as the current folder must not be used: its engines may be another user's.
std::filesystem::path engine_folder(const std::string& cache);

/// Every engine of a graph, those of the cache first. An empty path means no cache. Damaged entries
/// in the cache are skipped. Throws Error (bundle): an entry in the manifest is invalid.
std::vector<EngineFile> engines_of(const Bundle& bundle, const Graph& graph,
                                   const std::filesystem::path& cache);

/// The engines that fit, the one to prefer first: those with the graph's own TF32, then those for
/// smaller shapes, which need less memory and are tuned closer to what they run; of equal ones the
/// newest. Throws Error (backend): none fits; the error says why, and which command compiles one.
std::vector<EngineFile> fitting_engines(const std::vector<EngineFile>& engines,
                                        const Machine& machine, const Bundle& bundle, bool tf32);

/// Reads an engine. Throws Error (backend): the file is missing, another user can write to it, or
/// its size or digest differs.
std::string read_engine(const EngineFile& engine);

}  // namespace hcflow::gpu
