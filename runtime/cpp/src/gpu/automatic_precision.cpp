#include "gpu/automatic_precision.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <utility>

#include "session.hpp"

namespace hcflow::gpu {
namespace {

// The share of the convolutions' operations that an FP8 engine must have in FP8.
constexpr double kLeastFp8 = 0.85;
// An FP8 engine must move at most so much an operation of what the fp16 engine moves.
constexpr double kMostBytes = 0.9;

/// Direction and latents of a graph.
using Kind = std::pair<Direction, bool>;
using Engines = std::map<Kind, std::vector<EngineFile>>;

/// The engines of a precision's graphs that are within their budget.
Engines engines_in(Precision precision, const Bundle& bundle, const Targets& targets,
                   const FindEngines& find) {
    Engines found;
    for (const Graph* graph : bundle.preferred(precision, targets))
        if (graph->within_budget) found[{graph->direction, graph->latents}] = find(*graph);
    return found;
}

bool has(const Engines& engines, const Kind& kind) {
    const auto found = engines.find(kind);
    return found != engines.end() && !found->second.empty();
}

/// What a program moves and computes; engines' windows may differ in size.
struct Cost {
    double bytes_per_operation;
    double fp8_share;
};

std::optional<Cost> cost(const EngineFile& engine) {
    const auto& program = engine.entry.program;
    if (!program || !program->bytes || !program->operations) return std::nullopt;
    double all = 0, in_fp8 = 0;
    for (const auto& [type, count] : *program->operations) {
        all += static_cast<double>(count);
        if (type == "fp8") in_fp8 = static_cast<double>(count);
    }
    if (all == 0) return std::nullopt;
    return Cost{static_cast<double>(*program->bytes) / all, in_fp8 / all};
}

/// Whether engines are known to be in FP8 and to move fewer bytes than those in fp16.
bool gains(const std::vector<EngineFile>& low, const std::vector<EngineFile>& half) {
    double least = std::numeric_limits<double>::infinity();
    for (const EngineFile& engine : half) {
        const auto known = cost(engine);
        if (known && known->bytes_per_operation > 0)
            least = std::min(least, known->bytes_per_operation);
    }
    return !low.empty() && std::isfinite(least) &&
           std::all_of(low.begin(), low.end(), [&](const EngineFile& engine) {
               const auto known = cost(engine);
               return known && known->fp8_share >= kLeastFp8 &&
                      known->bytes_per_operation <= kMostBytes * least;
           });
}

}  // namespace

Precision automatic_precision(const Bundle& bundle, const std::string& library,
                              const FindEngines& engines) {
    const Targets targets = targets_of(library);
    const auto in = [&](Precision precision) {
        return engines_in(precision, bundle, targets, engines);
    };
    const Engines exact = in(Precision::fp32), half = in(Precision::fp16), fp8 = in(Precision::fp8);
    std::vector<Kind> compiled;
    for (const auto& [kind, files] : exact) {
        if (half.count(kind) == 0) return Precision::fp32;
        if (!files.empty() || has(half, kind) || has(fp8, kind)) compiled.push_back(kind);
    }
    const auto every = [&](const auto& holds) {
        return !compiled.empty() && std::all_of(compiled.begin(), compiled.end(), holds);
    };
    const bool has_all_fp8 = std::all_of(
        exact.begin(), exact.end(), [&](const auto& each) { return fp8.count(each.first) > 0; });
    if (has_all_fp8 && every([&](const Kind& kind) { return gains(fp8.at(kind), half.at(kind)); }))
        return Precision::fp8;
    return every([&](const Kind& kind) { return has(half, kind); }) ? Precision::fp16
                                                                    : Precision::fp32;
}

}  // namespace hcflow::gpu
