// The precisions that `automatic` may use, by manifest, backend and processor
// (runtime/inference/auto/cpu_precision.py); on a GPU gpu/automatic_precision.hpp decides.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "bundle/manifest.hpp"

namespace hcflow {

/// The time of a pixel in INT8 / in fp32 on a processor, in OpenVINO; none if it was not measured.
std::optional<double> int8_cost(const std::set<std::string>& flags);

/// The precisions that `automatic` may use, the one with the lowest time per pixel first: INT8 if
/// the backend is OpenVINO, INT8 was measured to be faster on such a processor and every fp32 graph
/// has an INT8 graph within its budget beside it; then fp32.
std::vector<Precision> automatic_precisions(const Manifest& manifest, const std::string& backend,
                                            const std::set<std::string>& flags);

}  // namespace hcflow
