// What TensorRT-RTX alone has: the configuration of a run time, and the cache of its kernels.
#pragma once

#include <string>
#include <utility>

#include "NvInferRuntime.h"

extern "C" void sim_report(const char* what);

namespace simulated {

using namespace nvinfer1;

inline std::string& kernels_of_last_cache() {
    static std::string kernels;
    return kernels;
}

class Memory : public IHostMemory {
  public:
    explicit Memory(std::string data) : data_(std::move(data)) {}
    void* data() const noexcept override { return const_cast<char*>(data_.data()); }
    std::size_t size() const noexcept override { return data_.size(); }

  private:
    std::string data_;
};

class Cache : public IRuntimeCache {
  public:
    IHostMemory* serialize() const noexcept override {
        return new Memory(kernels_.empty() ? "kernels" : kernels_);
    }
    bool deserialize(void const* data, std::size_t size) noexcept override {
        kernels_.assign(static_cast<const char*>(data), size);
        kernels_of_last_cache() = kernels_;
        rejected = kernels_.compare(0, 7, "kernels") != 0;
        return !rejected;
    }

    bool rejected = false;

  private:
    std::string kernels_;
};

class Config : public IRuntimeConfig {
  public:
    void setExecutionContextAllocationStrategy(
        ExecutionContextAllocationStrategy strategy) noexcept override {
        managed = strategy == ExecutionContextAllocationStrategy::kUSER_MANAGED;
    }
    void setDynamicShapesKernelSpecializationStrategy(
        DynamicShapesKernelSpecializationStrategy strategy) noexcept override {
        eager = strategy == DynamicShapesKernelSpecializationStrategy::kEAGER;
    }
    bool setCudaGraphStrategy(CudaGraphStrategy) noexcept override { return true; }
    IRuntimeCache* createRuntimeCache() const noexcept override { return new Cache; }
    bool setRuntimeCache(IRuntimeCache const& cache) noexcept override {
        if (static_cast<const Cache&>(cache).rejected)
            sim_report("a runtime cache is used that was rejected");
        return true;
    }

    bool managed = false, eager = false;
};

}  // namespace simulated
