// The precision that `automatic` takes on a GPU (runtime/inference/auto/gpu_precision.py).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "gpu/engine_files.hpp"

namespace hcflow::gpu {

/// The engines of a graph that a library could run.
using FindEngines = std::function<std::vector<EngineFile>(const Graph&)>;

/// The precision in which a library runs a bundle: fp16 if every fp32 graph has one in fp16 within
/// its budget, and that an engine unless the graph has none in any precision; FP8 likewise, if its
/// engines' entries show that it gains by FP8; else fp32. INT8 moves no fewer bytes on a GPU than
/// fp16, and is never taken (docs/precision.md, 3).
Precision automatic_precision(const Bundle& bundle, const std::string& library,
                              const FindEngines& engines);

}  // namespace hcflow::gpu
