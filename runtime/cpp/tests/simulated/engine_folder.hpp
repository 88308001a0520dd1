// A bundle with engines for the simulated GPU, and access to that GPU.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "bundle_folder.hpp"
#include "hcflow/hcflow.hpp"

extern "C" {
// Of tests/simulated/libcuda.c.
const char* sim_violation(void);
void sim_reset(void);
void sim_machine(int devices, int driver_version, std::size_t bytes);
std::size_t sim_used(void);
int sim_copies(void);
int sim_waits(void);
std::size_t sim_pending(void);
void sim_fail(const char* function, int status, int after);
void sim_other_context(std::uintptr_t address);
// Of library.cpp as TensorRT-RTX.
const char* sim_kernels();
void sim_refuse_to_start(int refuse);
const void* sim_last_log();
void sim_log(const char* line);
void sim_log_before(const char* line);
}

namespace tests {

/// The smallest and largest shape of every input of a profile.
using Ranges = std::map<std::string, std::pair<std::vector<std::size_t>, std::vector<std::size_t>>>;

/// A profile of LR images from 1x1 to side x side, `batch` at once.
Ranges ranges(const std::string& direction, std::size_t side, std::size_t batch);

/// What a simulated engine is like. `words`: HOST-CODE, UNCAPTURABLE, BREAKS-CAPTURES,
/// NO-SCRATCH (network.hpp).
struct EngineKind {
    std::string library = "tensorrt-rtx";
    std::string words;
    std::vector<std::pair<std::size_t, std::size_t>> profiles = {{8, 1}, {16, 2}};  // side, batch
};

/// An engine's file and its entry.
struct EngineText {
    std::string data;
    nlohmann::json sidecar;
};
EngineText engine(const nlohmann::json& graph, const EngineKind& kind);

/// A BundleFolder with an engine of each graph. `change` may alter entries before they are written.
class EngineFolder : public BundleFolder {
  public:
    explicit EngineFolder(const std::string& library = "tensorrt-rtx",
                          const std::function<void(nlohmann::json&)>& change = {},
                          const std::string& words = "");

    /// Adds an engine of graph number `graph` in a file of its own.
    void add(std::size_t graph, const std::string& file, const EngineKind& kind,
             const std::function<void(nlohmann::json&)>& change = {});
    [[nodiscard]] hcflow::Model open(const std::string& backend = "tensorrt-rtx",
                                     const std::string& cache = "", int gpu = 0) const;
    void write_manifest() const;
};

/// Whether the GPU has seen no mistake so far.
bool fine();

}  // namespace tests
