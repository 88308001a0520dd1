// TensorRT-RTX, compiled with its headers. The library is loaded at first use.
#define HCFLOW_NVINFER_NAMESPACE nvinfer1_of_tensorrt_rtx
#include "nvinfer.hpp"

#include "gpu/engine_choice.hpp"

namespace hcflow {
namespace {

std::unique_ptr<gpu::Library> load() {
    return std::make_unique<gpu::NvLibrary>(
        "TensorRT-RTX", tensorrt_rtx_file(NV_TENSORRT_MAJOR, NV_TENSORRT_MINOR));
}

}  // namespace

std::unique_ptr<Session> open_tensorrt_rtx(const OpenRequest& request) {
    return gpu::open_engine(request, "tensorrt-rtx", load);
}

Precision tensorrt_rtx_precision(const Bundle& bundle, const Options& options) {
    return gpu::precision_of(bundle, options, "tensorrt-rtx", load);
}

bool has_tensorrt_rtx_engines(const Bundle& bundle, const Options& options) {
    return gpu::has_engines(bundle, options, "tensorrt-rtx", load);
}

}  // namespace hcflow
