#include "inference/auto_precision.hpp"

#include <algorithm>
#include <array>

namespace hcflow {
namespace {

/// Instructions by Linux's names, and the time of a pixel in INT8 / in fp32 on a processor that has
/// one of them: the largest measured (docs/speed.md).
struct Int8Cost {
    std::vector<const char*> flags;
    double cost;
};

const std::array<Int8Cost, 3>& int8_costs() {
    static const std::array<Int8Cost, 3> costs = {{
        {{"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"}, 0.42},  // dot products of bytes
        {{"avx512f"}, 0.90},
        {{"avx2"}, 0.65},
    }};
    return costs;
}

// INT8 costs some quality: it is used only if a pixel takes at most so much of fp32's time.
constexpr double kMostCost = 0.8;

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

std::optional<double> int8_cost(const std::set<std::string>& flags) {
    for (const Int8Cost& row : int8_costs())
        if (std::any_of(row.flags.begin(), row.flags.end(),
                        [&](const char* flag) { return flags.count(flag) > 0; }))
            return row.cost;
    return std::nullopt;
}

std::vector<Precision> automatic_precisions(const Manifest& manifest, const std::string& backend,
                                            const std::set<std::string>& flags) {
    if (backend != "openvino" || int8_cost(flags).value_or(1) > kMostCost ||
        !int8_replaces_fp32(manifest))
        return {Precision::fp32};
    return {Precision::int8, Precision::fp32};
}

}  // namespace hcflow
