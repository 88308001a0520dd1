// TensorRT, compiled with its headers. The library is loaded at first use.
#define HCFLOW_NVINFER_NAMESPACE nvinfer1_of_tensorrt
#include "nvinfer.hpp"

#include "gpu/engine_choice.hpp"

namespace hcflow {
namespace {

std::unique_ptr<gpu::Library> load() {
    return std::make_unique<gpu::NvLibrary>("TensorRT", tensorrt_file(NV_TENSORRT_MAJOR));
}

}  // namespace

std::unique_ptr<Session> open_tensorrt(const OpenRequest& request) {
    return gpu::open_engine(request, "tensorrt", load);
}

Precision tensorrt_precision(const Bundle& bundle, const Options& options) {
    return gpu::precision_of(bundle, options, "tensorrt", load);
}

bool has_tensorrt_engines(const Bundle& bundle, const Options& options) {
    return gpu::has_engines(bundle, options, "tensorrt", load);
}

}  // namespace hcflow
