// What belongs to one loaded engine: its runtime, and how it compiles at run time. Included by
// nvinfer.hpp.
#pragma once

#include <NvInferRuntime.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "backends/nvinfer_log.hpp"
#include "core/error.hpp"
#include "gpu/library.hpp"
#include "system/file_trust.hpp"

namespace hcflow::gpu {
namespace {

/// The objects of one loaded engine; destroyed in reverse order, as the library requires.
struct Loaded {
    std::unique_ptr<nvinfer1::IRuntime> runtime;
    std::unique_ptr<nvinfer1::ICudaEngine> engine;
};

#ifdef TRT_MAJOR_RTX

/// Whether a library of this version has the classes of the headers. TensorRT-RTX changes them from
/// one minor version to the next, though its file keeps its name.
inline bool serves_headers(int major, int minor) {
    return major == NV_TENSORRT_MAJOR && minor == NV_TENSORRT_MINOR;
}
inline constexpr const char* kOrLater = "";

/// TensorRT-RTX reads from an engine's header whether it can run on this machine.
inline void refuse_invalid(Loaded& loaded, const std::string& data, const std::string& where,
                           const std::string& remedy) {
    using Kind = nvinfer1::EngineInvalidityDiagnostics;
    constexpr std::array<std::pair<Kind, const char*>, 7> kinds = {{
        {Kind::kVERSION_MISMATCH, "another version of TensorRT-RTX made it"},
        {Kind::kUNSUPPORTED_CC, "it was not compiled for this GPU's compute capability"},
        {Kind::kOLD_CUDA_DRIVER, "the NVIDIA driver is too old for it: upgrade the driver, or"},
        {Kind::kOLD_CUDA_RUNTIME, "the CUDA runtime is too old for it: upgrade TensorRT-RTX, or"},
        {Kind::kINSUFFICIENT_GPU_MEMORY,
         "the GPU has too little memory for it: with a smaller --max"},
        {Kind::kMALFORMED_ENGINE, "it is not an engine, or is damaged"},
        {Kind::kCUDA_ERROR, "the CUDA driver or runtime does not work: see nvidia-smi, or"},
    }};
    std::uint64_t found = 0;
    const LoggedErrors errors;
    const auto validity = loaded.runtime->getEngineValidity(
        data.data(), static_cast<std::int64_t>(data.size()), &found);
    if (validity != nvinfer1::EngineValidity::kINVALID) return;
    std::vector<std::string> reasons;
    for (const auto& [kind, words] : kinds)
        if ((found & static_cast<std::uint64_t>(kind)) != 0) reasons.emplace_back(words);
    throw_error(ErrorCode::backend, "engine '", where, "' cannot run on this machine: ",
                reasons.empty() ? errors.text() : join(reasons, "; "), "; ", remedy);
}

/// TensorRT-RTX compiles kernels at run time. They are kept in a file.
class RuntimeConfig {
  public:
    RuntimeConfig(Loaded& loaded, std::filesystem::path path)
        : lazy_(make(loaded, nvinfer1::DynamicShapesKernelSpecializationStrategy::kLAZY)),
          eager_(make(loaded, nvinfer1::DynamicShapesKernelSpecializationStrategy::kEAGER)),
          path_(std::move(path)) {
        if (path_.empty()) return;
        cache_.reset(lazy_->createRuntimeCache());
        if (!cache_) return;
        if (auto kept = read_private_file(path_)) {
            if (cache_->deserialize(kept->data(), kept->size()))
                kept_ = std::move(*kept);
            else  // cut short, or of another version: begin an empty one, which replaces it
                cache_.reset(lazy_->createRuntimeCache());
        }
        if (cache_ && (!lazy_->setRuntimeCache(*cache_) || !eager_->setRuntimeCache(*cache_)))
            cache_.reset();
    }

    [[nodiscard]] nvinfer1::IExecutionContext* context(Loaded& loaded, bool eager) const {
        return loaded.engine->createExecutionContext((eager ? eager_ : lazy_).get());
    }
    [[nodiscard]] static bool compiles() { return true; }

    void keep() {
        if (!cache_) return;
        const std::unique_ptr<nvinfer1::IHostMemory> data(cache_->serialize());
        if (!data) return;
        std::string kernels(static_cast<const char*>(data->data()), data->size());
        if (kernels != kept_ && write_private_file(path_, kernels)) kept_ = std::move(kernels);
    }

  private:
    using Config = std::unique_ptr<nvinfer1::IRuntimeConfig>;

    static Config make(Loaded& loaded,
                       nvinfer1::DynamicShapesKernelSpecializationStrategy strategy) {
        const LoggedErrors errors;
        Config config(loaded.engine->createRuntimeConfig());
        if (!config) throw_failure("no runtime configuration", errors.text());
        config->setExecutionContextAllocationStrategy(
            nvinfer1::ExecutionContextAllocationStrategy::kUSER_MANAGED);
        config->setDynamicShapesKernelSpecializationStrategy(strategy);
        // We capture graphs ourselves.
        (void)config->setCudaGraphStrategy(nvinfer1::CudaGraphStrategy::kDISABLED);
        return config;
    }

    Config lazy_, eager_;
    std::unique_ptr<nvinfer1::IRuntimeCache> cache_;
    std::filesystem::path path_;
    std::string kept_;  // what the file holds
};

#else

/// Whether a library of this version has the classes of the headers. TensorRT only adds to them
/// within a major version.
inline bool serves_headers(int major, int minor) {
    return major == NV_TENSORRT_MAJOR && minor >= NV_TENSORRT_MINOR;
}
inline constexpr const char* kOrLater = " or a later one with the same major number";

inline void refuse_invalid(Loaded&, const std::string&, const std::string&, const std::string&) {}

/// TensorRT compiles nothing at run time: there is nothing to configure or keep.
class RuntimeConfig {
  public:
    RuntimeConfig(Loaded&, const std::filesystem::path&) {}
    [[nodiscard]] nvinfer1::IExecutionContext* context(Loaded& loaded, bool) const {
        return loaded.engine->createExecutionContext(
            nvinfer1::ExecutionContextAllocationStrategy::kUSER_MANAGED);
    }
    [[nodiscard]] static bool compiles() { return false; }
    void keep() const {}
};

#endif

}  // namespace
}  // namespace hcflow::gpu
