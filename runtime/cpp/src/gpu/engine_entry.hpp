// A compiled engine's entry, and whether it fits a machine (runtime/engines.py).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "bundle/json_reader.hpp"
#include "core/tensor.hpp"

namespace hcflow::gpu {

/// Shapes of one input that an engine accepts.
struct Range {
    Shape smallest, largest;

    [[nodiscard]] bool contains(const Shape& shape) const;
};

/// The range of every input by name.
using Profile = std::map<std::string, Range>;

/// What is used of the sidecar of one engine file.
struct EngineEntry {
    std::string file;
    std::string sha256;
    std::uint64_t bytes;
    std::string graph;    ///< SHA-256 of the ONNX graph it was compiled from
    std::string library;  ///< "tensorrt" or "tensorrt-rtx"
    std::string version;
    std::vector<std::string> compute_capabilities;
    std::vector<Profile> profiles;
    bool version_compatible;
    std::string hardware;  ///< GPUs beyond its own: "none", "ampere+", "same-capability"

    /// The first profile that holds these input shapes.
    [[nodiscard]] std::optional<std::size_t> find_profile(
        const std::map<std::string, Shape>& s) const;
};

/// Throws Error (bundle): something is missing, or of a wrong type or range.
EngineEntry read_engine_entry(const JsonReader& json);
/// The same of a text; `where` names it in errors.
EngineEntry parse_engine_entry(const std::string& json, const std::string& where);

/// What an engine must fit.
struct Machine {
    std::string library, version, compute_capability;
};

/// Why an engine does not fit a machine, in a few words; none when it does.
std::optional<std::string> misfit(const EngineEntry& engine, const Machine& machine);

/// The command line that compiles a bundle's graphs for this machine.
std::string command(const std::string& library, const std::string& bundle);

/// The accepted shapes in words.
std::string describe_ranges(const EngineEntry& engine);

/// "1x3x8x8"
std::string describe(const Shape& shape);

}  // namespace hcflow::gpu
