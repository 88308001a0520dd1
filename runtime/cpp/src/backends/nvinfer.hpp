// Implements gpu::Library with NVIDIA's C++ interface. Included by tensorrt.cpp and
// tensorrt_rtx.cpp, each with the headers of its library.
//
// Both libraries have inline classes of the same names, but different layouts, in namespace
// nvinfer1. Each gets a namespace of its own here, so that the linker does not merge them.
#define nvinfer1 HCFLOW_NVINFER_NAMESPACE
#include <NvInferRuntime.h>
#include <dlfcn.h>

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "core/error.hpp"
#include "core/file_trust.hpp"
#include "gpu/library.hpp"

namespace hcflow::gpu {
namespace {

/// The library's log. It keeps the last error for our messages.
class Log : public nvinfer1::ILogger {
  public:
    void log(Severity severity, nvinfer1::AsciiChar const* message) noexcept override try {
        if (severity > Severity::kERROR) return;
        std::string line(message);
        const std::lock_guard<std::mutex> lock(mutex_);
        last_ = std::move(line);
    } catch (...) {  // no exception may reach the library; the line is lost
    }

    [[nodiscard]] std::string last() const {
        const std::lock_guard<std::mutex> lock(mutex_);
        return last_.empty() ? "the library gives no reason" : last_;
    }

  private:
    mutable std::mutex mutex_;
    std::string last_;
};

inline cudaStream_t as_stream(Handle stream) { return static_cast<cudaStream_t>(stream); }

inline nvinfer1::Dims dims(const Shape& shape) {
    nvinfer1::Dims all{};
    if (shape.size() > static_cast<std::size_t>(nvinfer1::Dims::MAX_DIMS))
        throw_error(ErrorCode::parameter, "a tensor of ", shape.size(), " axes: at most ",
                    static_cast<int>(nvinfer1::Dims::MAX_DIMS));
    all.nbDims = static_cast<std::int32_t>(shape.size());
    for (std::size_t i = 0; i < shape.size(); ++i) all.d[i] = static_cast<std::int64_t>(shape[i]);
    return all;
}

class NvContext : public Context {
  public:
    NvContext(nvinfer1::IExecutionContext* context, const Log& log)
        : context_(context), log_(log) {}

    void select_profile(std::size_t index, Handle stream) override {
        require(context_->setOptimizationProfileAsync(static_cast<std::int32_t>(index),
                                                      as_stream(stream)),
                "the engine has no profile", std::to_string(index));
    }
    void set_input_shape(const std::string& name, const Shape& shape) override {
        require(context_->setInputShape(name.c_str(), dims(shape)),
                "the engine does not take this shape of", name);
    }
    Shape output_shape(const std::string& name) override {
        const nvinfer1::Dims found = context_->getTensorShape(name.c_str());
        Shape shape;
        for (std::int32_t i = 0; i < found.nbDims; ++i) {
            require(found.d[i] >= 0, "the engine cannot tell the shape of", name);
            shape.push_back(static_cast<std::size_t>(found.d[i]));
        }
        require(found.nbDims >= 0, "the engine cannot tell the shape of", name);
        return shape;
    }
    std::size_t scratch_size() override { return context_->updateDeviceMemorySizeForShapes(); }
    void set_scratch(Address address, std::size_t size) override {
        context_->setDeviceMemoryV2(reinterpret_cast<void*>(address),
                                    static_cast<std::int64_t>(size));
    }
    void set_address(const std::string& name, Address address) override {
        require(context_->setTensorAddress(name.c_str(), reinterpret_cast<void*>(address)),
                "no address for", name);
    }
    void enqueue(Handle stream) override {
        require(context_->enqueueV3(as_stream(stream)), "the engine failed", "");
    }

  private:
    void require(bool fine, const char* what, const std::string& name) const {
        if (!fine)
            throw_error(ErrorCode::backend, what, name.empty() ? "" : " '" + name + "'", ": ",
                        log_.last());
    }

    std::unique_ptr<nvinfer1::IExecutionContext> context_;
    const Log& log_;
};

/// The objects of one loaded engine; destroyed in reverse order, as the library requires.
struct Loaded {
    Log log;
    std::unique_ptr<nvinfer1::IRuntime> runtime;
    std::unique_ptr<nvinfer1::ICudaEngine> engine;
};

#ifdef TRT_MAJOR_RTX

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
    const auto validity = loaded.runtime->getEngineValidity(
        data.data(), static_cast<std::int64_t>(data.size()), &found);
    if (validity != nvinfer1::EngineValidity::kINVALID) return;
    std::vector<std::string> reasons;
    for (const auto& [kind, words] : kinds)
        if ((found & static_cast<std::uint64_t>(kind)) != 0) reasons.emplace_back(words);
    throw_error(ErrorCode::backend, "engine '", where, "' cannot run on this machine: ",
                reasons.empty() ? loaded.log.last() : join(reasons, "; "), "; ", remedy);
}

/// TensorRT-RTX compiles kernels at run time. They are kept in a file.
class RuntimeConfig {
  public:
    RuntimeConfig(Loaded& loaded, std::string path)
        : config_(loaded.engine->createRuntimeConfig()), path_(std::move(path)) {
        if (!config_)
            throw_error(ErrorCode::backend, "no runtime configuration: ", loaded.log.last());
        config_->setExecutionContextAllocationStrategy(
            nvinfer1::ExecutionContextAllocationStrategy::kUSER_MANAGED);
        // Eager: kernels are compiled before a shape runs, else a captured graph would keep the
        // generic ones.
        config_->setDynamicShapesKernelSpecializationStrategy(
            nvinfer1::DynamicShapesKernelSpecializationStrategy::kEAGER);
        config_->setCudaGraphStrategy(
            nvinfer1::CudaGraphStrategy::kDISABLED);  // we capture graphs ourselves
        if (path_.empty()) return;
        cache_.reset(config_->createRuntimeCache());
        if (!cache_) return;
        if (const auto kept =
                read_private_file(path_))  // the library ignores one that does not fit
            cache_->deserialize(kept->data(), kept->size());
        config_->setRuntimeCache(*cache_);
    }

    [[nodiscard]] nvinfer1::IExecutionContext* context(Loaded& loaded) const {
        return loaded.engine->createExecutionContext(config_.get());
    }

    void keep() const {
        if (!cache_) return;
        const std::unique_ptr<nvinfer1::IHostMemory> data(cache_->serialize());
        if (data)
            (void)write_private_file(path_, {static_cast<const char*>(data->data()), data->size()});
    }

  private:
    std::unique_ptr<nvinfer1::IRuntimeConfig> config_;
    std::unique_ptr<nvinfer1::IRuntimeCache> cache_;
    std::string path_;
};

#else

inline void refuse_invalid(Loaded&, const std::string&, const std::string&, const std::string&) {}

/// TensorRT compiles nothing at run time: there is nothing to configure or keep.
class RuntimeConfig {
  public:
    RuntimeConfig(Loaded&, const std::string&) {}
    [[nodiscard]] nvinfer1::IExecutionContext* context(Loaded& loaded) const {
        return loaded.engine->createExecutionContext(
            nvinfer1::ExecutionContextAllocationStrategy::kUSER_MANAGED);
    }
    void keep() const {}
};

#endif

class NvEngine : public Engine {
  public:
    NvEngine(std::unique_ptr<Loaded> loaded, const std::string& runtime_cache)
        : loaded_(std::move(loaded)), config_(*loaded_, runtime_cache) {
        const nvinfer1::ICudaEngine& engine = *loaded_->engine;
        for (std::int32_t i = 0; i < engine.getNbIOTensors(); ++i) {
            const char* name = engine.getIOTensorName(i);
            if (engine.getTensorDataType(name) != nvinfer1::DataType::kFLOAT)
                throw_error(ErrorCode::backend, "the engine's '", name,
                            "' is not float32: compile it from this bundle's graph");
            const bool input = engine.getTensorIOMode(name) == nvinfer1::TensorIOMode::kINPUT;
            (input ? inputs_ : outputs_).emplace_back(name);
        }
    }

    std::unique_ptr<Context> context() override {
        const std::lock_guard<std::mutex> lock(mutex_);
        nvinfer1::IExecutionContext* made = config_.context(*loaded_);
        if (made == nullptr)
            throw_error(ErrorCode::backend,
                        "no execution context for the engine: ", loaded_->log.last());
        return std::make_unique<NvContext>(made, loaded_->log);
    }

    void keep_runtime_cache() override {
        const std::lock_guard<std::mutex> lock(mutex_);
        config_.keep();
    }

  private:
    std::unique_ptr<Loaded> loaded_;
    RuntimeConfig config_;
    std::mutex mutex_;
};

class NvLibrary : public Library {
  public:
    /// `file`: of the library; `install`: how to install it, for errors.
    NvLibrary(const std::string& file, const char* install) {
        // Never closed, as it has threads and CUDA state of its own.
        library_ = dlopen(file.c_str(), RTLD_NOW);
        if (library_ == nullptr)
            throw_error(ErrorCode::backend, file, " cannot be loaded (", dlerror(), "): ", install);
    }

    [[nodiscard]] std::string version() const override {
        return concat(number("getInferLibMajorVersion"), ".", number("getInferLibMinorVersion"),
                      ".", number("getInferLibPatchVersion"));
    }

    std::unique_ptr<Engine> load(const std::string& data, const std::string& where,
                                 const std::string& remedy, const std::string& runtime_cache,
                                 bool host_code) override {
        auto loaded = std::make_unique<Loaded>();
        using Create = void* (*)(void* logger, std::int32_t version) noexcept;
        const auto create = symbol<Create>("createInferRuntime_INTERNAL");
        loaded->runtime.reset(static_cast<nvinfer1::IRuntime*>(
            create(&loaded->log, static_cast<std::int32_t>(NV_TENSORRT_VERSION))));
        if (!loaded->runtime)
            throw_error(ErrorCode::backend,
                        "the library cannot be initialised: ", loaded->log.last());
        // The library refuses host code by default. The file's owner has been checked before.
        if (host_code) loaded->runtime->setEngineHostCodeAllowed(true);
        refuse_invalid(*loaded, data, where, remedy);
        loaded->engine.reset(loaded->runtime->deserializeCudaEngine(data.data(), data.size()));
        if (!loaded->engine)
            throw_error(ErrorCode::backend, "engine '", where,
                        "' does not load: ", loaded->log.last(), "; ", remedy);
        return std::make_unique<NvEngine>(std::move(loaded), runtime_cache);
    }

  private:
    template <typename Function>
    [[nodiscard]] Function symbol(const char* name) const {
        const auto found = reinterpret_cast<Function>(dlsym(library_, name));
        if (found == nullptr)
            throw_error(ErrorCode::backend, "the installed library has no ", name,
                        ": install version ", NV_TENSORRT_MAJOR, ".", NV_TENSORRT_MINOR);
        return found;
    }

    [[nodiscard]] int number(const char* name) const { return symbol<int (*)() noexcept>(name)(); }

    void* library_;
};

}  // namespace
}  // namespace hcflow::gpu
