// The precisions that `automatic` may use, by manifest, backend and processor
// (runtime/inference/auto_precision.py).
#pragma once

#include <set>
#include <string>
#include <vector>

#include "bundle/manifest.hpp"

namespace hcflow {

/// The precisions that `automatic` may use, the one with the lowest time per pixel first: INT8 if
/// the backend is OpenVINO, the processor multiplies bytes and every fp32 graph has an INT8 graph
/// within its budget beside it; then fp32.
std::vector<Precision> automatic_precisions(const Manifest& manifest, const std::string& backend,
                                            const std::set<std::string>& flags);

}  // namespace hcflow
