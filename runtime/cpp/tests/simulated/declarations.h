/* The part of NVIDIA's C++ interface that hcflow uses, to compile and run its backends without
 * NVIDIA's headers. Names, parameters and meanings are those of TensorRT 10 and later, and of
 * TensorRT-RTX 1. For tests only: the layout of these classes is not that of NVIDIA's libraries.
 */
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "NvInferVersion.h"

#define NV_TENSORRT_VERSION (NV_TENSORRT_MAJOR * 10000L + NV_TENSORRT_MINOR * 100L)

namespace nvinfer1 {

using AsciiChar = char;

class Object {
  public:
    Object() = default;
    Object(const Object&) = delete;
    Object& operator=(const Object&) = delete;
    virtual ~Object() = default;
};

class ILogger {
  public:
    enum class Severity : std::int32_t { kINTERNAL_ERROR, kERROR, kWARNING, kINFO, kVERBOSE };
    virtual void log(Severity severity, AsciiChar const* message) noexcept = 0;
    ILogger() = default;
    virtual ~ILogger() = default;

  protected:
    ILogger(const ILogger&) = default;
    ILogger& operator=(const ILogger&) = default;
};

struct Dims64 {
    static constexpr std::int32_t MAX_DIMS{8};
    std::int32_t nbDims;
    std::int64_t d[MAX_DIMS];
};
using Dims = Dims64;

enum class DataType : std::int32_t { kFLOAT = 0, kHALF = 1, kINT8 = 2, kINT32 = 3 };
enum class TensorIOMode : std::int32_t { kNONE = 0, kINPUT = 1, kOUTPUT = 2 };
enum class ExecutionContextAllocationStrategy : std::int32_t {
    kSTATIC = 0,
    kON_PROFILE_CHANGE = 1,
    kUSER_MANAGED = 2,
};

class IHostMemory : public Object {
  public:
    virtual void* data() const noexcept = 0;
    virtual std::size_t size() const noexcept = 0;
};

class IExecutionContext : public Object {
  public:
    virtual bool setOptimizationProfileAsync(std::int32_t index, cudaStream_t stream) noexcept = 0;
    virtual bool setInputShape(char const* name, Dims const& dims) noexcept = 0;
    virtual Dims getTensorShape(char const* name) const noexcept = 0;
    virtual std::size_t updateDeviceMemorySizeForShapes() noexcept = 0;
    virtual void setDeviceMemoryV2(void* memory, std::int64_t size) noexcept = 0;
    virtual bool setTensorAddress(char const* name, void* data) noexcept = 0;
    virtual bool enqueueV3(cudaStream_t stream) noexcept = 0;
#ifdef TRT_MAJOR_RTX
    virtual bool isStreamCapturable(cudaStream_t stream) const noexcept = 0;
#endif
};

#ifdef TRT_MAJOR_RTX
enum class DynamicShapesKernelSpecializationStrategy : std::int32_t { kLAZY, kEAGER, kNONE };
enum class CudaGraphStrategy : std::int32_t { kDISABLED, kWHOLE_GRAPH_CAPTURE };
enum class EngineValidity : std::int32_t { kVALID, kSUBOPTIMAL, kINVALID };
enum class EngineInvalidityDiagnostics : std::uint64_t {
    kVERSION_MISMATCH = 1,
    kUNSUPPORTED_CC = 2,
    kOLD_CUDA_DRIVER = 4,
    kOLD_CUDA_RUNTIME = 8,
    kINSUFFICIENT_GPU_MEMORY = 16,
    kMALFORMED_ENGINE = 32,
    kCUDA_ERROR = 64,
};

class IRuntimeCache : public Object {
  public:
    virtual IHostMemory* serialize() const noexcept = 0;
    virtual bool deserialize(void const* data, std::size_t size) noexcept = 0;
};

class IRuntimeConfig : public Object {
  public:
    virtual void setExecutionContextAllocationStrategy(
        ExecutionContextAllocationStrategy strategy) noexcept = 0;
    virtual void setDynamicShapesKernelSpecializationStrategy(
        DynamicShapesKernelSpecializationStrategy strategy) noexcept = 0;
    virtual bool setCudaGraphStrategy(CudaGraphStrategy strategy) noexcept = 0;
    virtual IRuntimeCache* createRuntimeCache() const noexcept = 0;
    virtual bool setRuntimeCache(IRuntimeCache const& cache) noexcept = 0;
};
#endif

class ICudaEngine : public Object {
  public:
    virtual std::int32_t getNbIOTensors() const noexcept = 0;
    virtual char const* getIOTensorName(std::int32_t index) const noexcept = 0;
    virtual DataType getTensorDataType(char const* name) const noexcept = 0;
    virtual TensorIOMode getTensorIOMode(char const* name) const noexcept = 0;
    virtual std::int64_t getDeviceMemorySizeForProfileV2(std::int32_t index) const noexcept = 0;
    virtual IExecutionContext* createExecutionContext(
        ExecutionContextAllocationStrategy strategy) noexcept = 0;
#ifdef TRT_MAJOR_RTX
    virtual IExecutionContext* createExecutionContext(IRuntimeConfig* config) noexcept = 0;
    virtual IRuntimeConfig* createRuntimeConfig() noexcept = 0;
#endif
};

class IRuntime : public Object {
  public:
    virtual ICudaEngine* deserializeCudaEngine(void const* data, std::size_t size) noexcept = 0;
    virtual void setEngineHostCodeAllowed(bool allowed) noexcept = 0;
#ifdef TRT_MAJOR_RTX
    virtual EngineValidity getEngineValidity(void const* data, std::int64_t size,
                                             std::uint64_t* diagnostics) const noexcept = 0;
#endif
};

}  // namespace nvinfer1
