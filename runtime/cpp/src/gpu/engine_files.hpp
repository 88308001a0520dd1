// The engines of a graph, in the user's cache and in the bundle
// (runtime/bundle/engine_cache.py).
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

/// Every engine of a graph, those of the cache first. An empty path means no cache. Damaged entries
/// in the cache are skipped. Throws Error (bundle): an entry in the manifest is invalid.
std::vector<EngineFile> engines_of(const Bundle& bundle, const Graph& graph,
                                   const std::filesystem::path& cache);

/// The first engine that fits. Throws Error (backend): none fits; the error says why, and which
/// command compiles one.
const EngineFile& choose_engine(const std::vector<EngineFile>& engines, const Machine& machine,
                                const Bundle& bundle);

/// Reads an engine. Throws Error (backend): the file is missing, another user can write to it, or
/// its size or digest differs.
std::string read_engine(const EngineFile& engine);

}  // namespace hcflow::gpu
