#include "inference/auto_precision.hpp"

#include <algorithm>
#include <array>

namespace hcflow {
namespace {

// Linux's names of instructions for dot products of bytes; without them INT8 is not faster.
constexpr std::array<const char*, 4> kInt8 = {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"};

/// Whether every fp32 graph can be replaced by an INT8 graph within its budget.
bool int8_replaces_fp32(const Manifest& manifest) {
    const auto of_floats = [](const Graph& graph, Precision precision) {
        return graph.precision == precision && graph.io == "float32";
    };
    const auto& graphs = manifest.graphs;
    const auto is_exact = [&](const Graph& graph) { return of_floats(graph, Precision::fp32); };
    if (std::none_of(graphs.begin(), graphs.end(), is_exact)) return false;
    return std::all_of(graphs.begin(), graphs.end(), [&](const Graph& graph) {
        return !is_exact(graph) ||
               std::any_of(graphs.begin(), graphs.end(), [&](const Graph& other) {
                   return of_floats(other, Precision::int8) && other.within_budget &&
                          other.direction == graph.direction && other.latents == graph.latents;
               });
    });
}

}  // namespace

std::vector<Precision> automatic_precisions(const Manifest& manifest, const std::string& backend,
                                            const std::set<std::string>& flags) {
    const bool fast = std::any_of(kInt8.begin(), kInt8.end(),
                                  [&](const char* flag) { return flags.count(flag) > 0; });
    if (backend != "openvino" || !fast || !int8_replaces_fp32(manifest)) return {Precision::fp32};
    return {Precision::int8, Precision::fp32};
}

}  // namespace hcflow
