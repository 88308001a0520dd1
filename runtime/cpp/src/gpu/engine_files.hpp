// The engines of a graph: in the user's cache, made on this machine, and in the bundle
// (runtime/engine_cache.py).
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

/// Every engine of a graph: the cache's before the bundle's; an empty path is no cache. Damaged
/// sidecars of the cache are left out. Throws Error (bundle): the bundle's own cannot be read.
std::vector<EngineFile> engines_of(const Bundle& bundle, const Graph& graph,
                                   const std::filesystem::path& cache);

/// The first that fits. Throws Error (backend): none does; says why, and which command makes one.
const EngineFile& choose_engine(const std::vector<EngineFile>& engines, const Machine& machine,
                                const Bundle& bundle);

/// Its bytes. Throws Error (backend): missing, not this user's, or of another size or digest.
std::string read_engine(const EngineFile& engine);

}  // namespace hcflow::gpu
