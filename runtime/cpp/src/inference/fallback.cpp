#include "inference/fallback.hpp"

#include <algorithm>
#include <limits>
#include <optional>

#include "core/error.hpp"

namespace hcflow {
namespace {

/// Pixels of a graph below fp32 count as saturated this far outside [0, 1].
constexpr float kSaturated = 2.0F;

struct Limits {
    float lowest, highest;
    bool finite;
};

/// Independent accumulators, so that compilers can vectorise the loop.
Limits limits(const float* values, std::size_t count) {
    constexpr std::size_t kLanes = 16;
    float low[kLanes], high[kLanes], bad[kLanes];
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
        low[lane] = std::numeric_limits<float>::infinity();
        high[lane] = -low[lane];
        bad[lane] = 0;
    }
    const auto take = [&](std::size_t lane, float value) {
        low[lane] = value < low[lane] ? value : low[lane];
        high[lane] = value > high[lane] ? value : high[lane];
        bad[lane] += value - value;  // NaN for NaN and infinity, else 0
    };
    std::size_t i = 0;
    for (; i + kLanes <= count; i += kLanes)
        for (std::size_t lane = 0; lane < kLanes; ++lane) take(lane, values[i + lane]);
    for (; i < count; ++i) take(0, values[i]);
    Limits all{low[0], high[0], true};
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
        all.lowest = std::min(all.lowest, low[lane]);
        all.highest = std::max(all.highest, high[lane]);
        all.finite = all.finite && bad[lane] == 0;
    }
    return all;
}

/// What is wrong with the outputs; none if they are valid.
std::optional<std::string> find_fault(const std::vector<Tensor>& outputs, const Graph& graph) {
    for (const Tensor& output : outputs) {
        const Limits found = limits(output.values.get(), elements(output.shape));
        if (!found.finite) return "NaN or infinity in '" + output.name + "'";
        const bool limited =
            (output.name == "hr" || output.name == "lr") && graph.precision != Precision::fp32;
        if (limited && (found.lowest < -kSaturated || found.highest > 1 + kSaturated))
            return concat(found.lowest, " to ", found.highest, " in '", output.name, "'");
    }
    return std::nullopt;
}

std::string place(const Tile& tile) {
    return concat(" on tile ", tile.row, ",", tile.column, " (low-resolution rows ", tile.y.start,
                  " to ", tile.y.stop, ", columns ", tile.x.start, " to ", tile.x.stop, ")");
}

}  // namespace

std::vector<Tensor> first_valid(const std::vector<Attempt>& attempts, const Tile& tile,
                                Report* report) {
    std::string reason, last;
    for (const Attempt& attempt : attempts) {
        std::vector<Tensor> outputs;
        try {
            outputs = attempt.run();
        } catch (const Error& error) {
            if (last.empty() || error.code() != ErrorCode::backend) throw;
            throw_error(ErrorCode::backend, last, place(tile), ", and it cannot be computed as ",
                        attempt.how, ": ", error.what());
        }
        const std::optional<std::string> found = find_fault(outputs, *attempt.graph);
        if (!found) {
            if (report != nullptr) {
                ++report->tiles;
                if (!reason.empty())
                    report->healed.push_back({tile.row, tile.column, reason, attempt.how});
            }
            return outputs;
        }
        if (reason.empty()) reason = *found;
        last = concat("'", attempt.graph->file, "' gave ", *found);
    }
    throw_error(ErrorCode::backend, last, place(tile),
                ": try a lower tau, and 'hcflow verify' on the bundle");
}

}  // namespace hcflow
