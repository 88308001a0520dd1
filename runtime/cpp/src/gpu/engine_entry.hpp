// The manifest entry of a compiled engine, and whether it fits a machine
// (runtime/bundle/engines/entry.py).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "bundle/json_reader.hpp"
#include "core/tensor.hpp"

namespace hcflow::gpu {

/// The shapes of one input that an engine accepts.
struct Range {
    Shape smallest, largest;

    [[nodiscard]] bool contains(const Shape& shape) const;
};

/// The range of every input by name.
using Profile = std::map<std::string, Range>;

/// What the compiler made of the graph, as far as it is known and used here.
struct Program {
    std::optional<std::int64_t> bytes;  ///< of the activations that kernels read and write
    std::optional<std::map<std::string, std::int64_t>> operations;  ///< by type, "fp16"
};

/// The part of an engine's entry that is used here.
struct EngineEntry {
    std::string file;
    std::string sha256;
    std::uint64_t bytes;
    std::string graph;    ///< SHA-256 of the ONNX graph it was compiled from
    std::string library;  ///< "tensorrt" or "tensorrt-rtx"
    std::string version;
    std::vector<std::string> compute_capabilities;
    std::vector<Profile> profiles;
    bool tf32;  ///< float32 convolutions may use TF32
    bool version_compatible;
    std::string hardware;  ///< other GPUs: "none", "ampere+", "same-capability"
    std::optional<Program> program;

    /// The first profile that contains these input shapes.
    [[nodiscard]] std::optional<std::size_t> find_profile(
        const std::map<std::string, Shape>& shapes) const;
};

/// Throws Error (bundle): a value is missing or invalid.
EngineEntry read_engine_entry(const JsonReader& json);
/// Decodes an entry from JSON text; `where` names it in errors.
EngineEntry parse_engine_entry(const std::string& json, const std::string& where);

/// The machine that an engine must fit.
struct Machine {
    std::string library, version, compute_capability;
};

/// The file in the cache for the kernels that TensorRT-RTX compiles at run time for an engine on
/// this kind of GPU, the same as in Python; `gpu`: the driver's name of it.
std::string runtime_cache_name(const EngineEntry& engine, const Machine& machine,
                               const std::string& gpu);

/// Why an engine does not fit a machine; none if it fits.
std::optional<std::string> misfit(const EngineEntry& engine, const Machine& machine);

/// The command line that compiles a bundle's graphs for a GPU of this compute capability; empty:
/// unknown. Where TensorRT-RTX does not serve it, TensorRT's, and a word about it.
std::string command(const std::string& library, const std::string& bundle,
                    const std::string& capability);

/// Whether TensorRT-RTX has code for GPUs of a compute capability.
bool rtx_serves(const std::string& capability);

/// "TensorRT" or "TensorRT-RTX"
const char* title(const std::string& library);

/// The accepted shapes, for errors.
std::string describe_ranges(const EngineEntry& engine);

/// "1x3x8x8"
std::string describe(const Shape& shape);

}  // namespace hcflow::gpu
