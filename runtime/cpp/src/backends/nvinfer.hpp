// Implements gpu::Library with NVIDIA's C++ interface. Included by tensorrt.cpp and
// tensorrt_rtx.cpp, each with the headers of its library.
//
// Both libraries have inline classes of the same names, but different layouts, in namespace
// nvinfer1. Each gets a namespace of its own here, so that the linker does not merge them.
#define nvinfer1 HCFLOW_NVINFER_NAMESPACE
#include "backends/nvinfer_loaded.hpp"

#include "system/shared_library.hpp"

namespace hcflow::gpu {
namespace {

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
    NvContext(nvinfer1::IExecutionContext* context, const nvinfer1::ICudaEngine& engine)
        : context_(context), engine_(engine) {}

    void select_profile(std::size_t index, Handle stream) override {
        profile_ = static_cast<std::int32_t>(index);
        require("the engine has no profile", std::to_string(index),
                [&] { return context_->setOptimizationProfileAsync(profile_, as_stream(stream)); });
    }
    void set_input_shape(const std::string& name, const Shape& shape) override {
        require("the engine does not take this shape of", name,
                [&] { return context_->setInputShape(name.c_str(), dims(shape)); });
    }
    Shape output_shape(const std::string& name) override {
        nvinfer1::Dims found{};
        require("the engine cannot tell the shape of", name, [&] {
            found = context_->getTensorShape(name.c_str());
            return found.nbDims >= 0 && std::all_of(found.d, found.d + found.nbDims,
                                                    [](auto side) { return side >= 0; });
        });
        return {found.d, found.d + found.nbDims};
    }
    std::size_t scratch_size() override {
        std::size_t size = 0;
        require("the engine cannot tell the scratch memory of these shapes", "", [&] {
            size = context_->updateDeviceMemorySizeForShapes();
            // 0 is its word for a failure too.
            return size != 0 || engine_.getDeviceMemorySizeForProfileV2(profile_) == 0;
        });
        return size;
    }
    void set_scratch(Address address, std::size_t size) override {
        context_->setDeviceMemoryV2(reinterpret_cast<void*>(address),
                                    static_cast<std::int64_t>(size));
    }
    void set_address(const std::string& name, Address address) override {
        require("no address for", name, [&] {
            return context_->setTensorAddress(name.c_str(), reinterpret_cast<void*>(address));
        });
    }
    bool may_be_captured([[maybe_unused]] Handle stream) override {
#ifdef TRT_MAJOR_RTX
        return context_->isStreamCapturable(as_stream(stream));
#else
        return true;
#endif
    }
    void enqueue(Handle stream) override {
        require("the engine failed", "", [&] { return context_->enqueueV3(as_stream(stream)); });
    }

  private:
    /// Throws, with the errors that the call logged, unless it returns true.
    template <typename Call>
    static void require(const char* what, const std::string& name, const Call& call) {
        const LoggedErrors errors;
        if (!call())
            throw_failure(concat(what, name.empty() ? "" : " '" + name + "'"), errors.text());
    }

    std::unique_ptr<nvinfer1::IExecutionContext> context_;
    const nvinfer1::ICudaEngine& engine_;
    std::int32_t profile_ = 0;
};

class NvEngine : public Engine {
  public:
    NvEngine(std::unique_ptr<Loaded> loaded, const std::filesystem::path& runtime_cache)
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

    std::unique_ptr<Context> context(bool eager) override {
        const std::lock_guard<std::mutex> lock(mutex_);
        const LoggedErrors errors;
        nvinfer1::IExecutionContext* made = config_.context(*loaded_, eager);
        if (made == nullptr) throw_failure("no execution context for the engine", errors.text());
        return std::make_unique<NvContext>(made, *loaded_->engine);
    }

    [[nodiscard]] bool compiles_at_run_time() const override { return RuntimeConfig::compiles(); }

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
    /// `name`: of the library; `file`: its file.
    /// Throws Error (backend): it cannot be loaded, or is of a version whose classes may differ
    /// from those of the headers.
    NvLibrary(std::string name, const std::string& file)
        : name_(std::move(name)), library_(opened(name_, file)) {
        if (!serves_headers(number("getInferLibMajorVersion"), number("getInferLibMinorVersion")))
            throw_error(ErrorCode::backend, "the installed ", name_, " is version ",
                        NvLibrary::version(), ", but this program was compiled for ",
                        NV_TENSORRT_MAJOR, ".", NV_TENSORRT_MINOR, kOrLater, ": install version ",
                        NV_TENSORRT_MAJOR, ".", NV_TENSORRT_MINOR, kOrLater);
    }

    [[nodiscard]] std::string version() const override {
        return concat(number("getInferLibMajorVersion"), ".", number("getInferLibMinorVersion"),
                      ".", number("getInferLibPatchVersion"));
    }

    std::unique_ptr<Engine> load(const std::string& data, const std::string& where,
                                 const std::string& remedy,
                                 const std::filesystem::path& runtime_cache,
                                 bool host_code) override {
        auto loaded = std::make_unique<Loaded>();
        loaded->runtime = started();
        // The library refuses host code by default. The file's owner has been checked before.
        if (host_code) loaded->runtime->setEngineHostCodeAllowed(true);
        refuse_invalid(*loaded, data, where, remedy);
        const LoggedErrors errors;
        loaded->engine.reset(loaded->runtime->deserializeCudaEngine(data.data(), data.size()));
        if (!loaded->engine)
            throw_failure(concat("engine '", where, "' does not load"), errors.text(),
                          "; " + remedy);
        return std::make_unique<NvEngine>(std::move(loaded), runtime_cache);
    }

  private:
    [[nodiscard]] std::unique_ptr<nvinfer1::IRuntime> started() const {
        using Create = void* (*)(void* logger, std::int32_t version) noexcept;
        const auto create = symbol<Create>("createInferRuntime_INTERNAL");
        const LoggedErrors errors;
        void* made = create(static_cast<nvinfer1::ILogger*>(&Log::of_library()),
                            static_cast<std::int32_t>(NV_TENSORRT_VERSION));
        if (made == nullptr)
            throw_failure(concat(name_, " ", version(),
                                 " does not start with this NVIDIA driver, which supports CUDA ",
                                 driver_version()),
                          errors.text(),
                          "; its packages for CUDA 13 need a driver for CUDA 13: upgrade the "
                          "driver, or install the packages for its version");
        return std::unique_ptr<nvinfer1::IRuntime>(static_cast<nvinfer1::IRuntime*>(made));
    }

    static SharedLibrary opened(const std::string& name, const std::string& file) {
        try {
            return SharedLibrary(file);
        } catch (const SharedLibrary::NotLoaded& error) {
            throw_error(ErrorCode::backend, file, " cannot be loaded (", error.what(),
                        "): install ", name, ", or add its folder to ", library_folders());
        }
    }

    template <typename Function>
    [[nodiscard]] Function symbol(const char* name) const {
        const auto found = reinterpret_cast<Function>(library_.symbol(name));
        if (found == nullptr)
            throw_error(ErrorCode::backend, "the installed ", name_, " has no ", name,
                        ": install version ", NV_TENSORRT_MAJOR, ".", NV_TENSORRT_MINOR);
        return found;
    }

    [[nodiscard]] int number(const char* name) const { return symbol<int (*)() noexcept>(name)(); }

    std::string name_;
    SharedLibrary library_;
};

}  // namespace
}  // namespace hcflow::gpu
