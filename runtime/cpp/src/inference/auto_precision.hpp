// The precisions that `automatic` may take, by the manifest, the backend and the processor.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "bundle/manifest.hpp"

namespace hcflow {

/// The precisions that `automatic` may take in a backend, the cheapest pixel first: INT8 where
/// OpenVINO runs it, the processor multiplies bytes and an INT8 graph within its budget stands
/// beside every fp32 one; then fp32.
std::vector<Precision> automatic_precisions(const Manifest& manifest, const std::string& backend,
                                            const std::set<std::string>& flags);

}  // namespace hcflow
