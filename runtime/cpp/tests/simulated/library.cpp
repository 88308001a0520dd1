// A simulation of NVIDIA's library on the simulated driver.
//
// An engine is a text (written by engine_folder.cpp). Its kernel is the null backend's arithmetic,
// run by the stream. What is undefined in the real library is an error here: an address not set, a
// shape outside the profile, an unaligned address, scratch memory missing or too small, a capture
// straight after shapes or scratch memory changed.
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "NvInferRuntime.h"
#include "network.hpp"
#ifdef TRT_MAJOR_RTX
#include "runtime_config.hpp"
#endif

extern "C" {
// Of tests/simulated/libcuda.c.
struct SimRange {
    std::uintptr_t at;
    std::size_t size;
    int write;
};
int sim_kernel(void* stream, int (*kernel)(void*), void* data, int n, SimRange* ranges);
void sim_needs_context(const char* what);
void sim_report(const char* what);
void sim_break_capture(void* stream);
int cuStreamIsCapturing(void* stream, int* status);
}

namespace {

using namespace nvinfer1;
using namespace simulated;

// Like NVIDIA's library, it keeps the first log that it gets, and writes to it until the process
// ends. `before`: what a thread of its own logs before every error.
ILogger* first_log = nullptr;
const void* last_log = nullptr;
std::string& before() {
    static std::string line;
    return line;
}

void log_error(ILogger& log, const std::string& line) {
    const auto write = [&](const std::string& each) {
        log.log(ILogger::Severity::kERROR, each.c_str());
    };
    if (!before().empty()) std::thread(write, before()).join();
    write(line);
}

class Context : public IExecutionContext {
  public:
    /// `eager`: it compiles kernels for a shape before the shape runs.
    Context(const Facts& facts, ILogger& log, bool eager = true)
        : facts_(facts), log_(log), eager_(eager) {}

    bool setOptimizationProfileAsync(std::int32_t index, cudaStream_t) noexcept override {
        profile_ = static_cast<std::size_t>(index);
        shapes_.clear();
        return profile_ < facts_.profiles.size() || complain("there is no such profile");
    }
    bool setInputShape(char const* name, Dims const& dims) noexcept override {
        const auto range = facts_.profiles[profile_].find(name);
        if (range == facts_.profiles[profile_].end()) return complain("no such input");
        const Shape shape(dims.d, dims.d + dims.nbDims);
        const auto& [low, high] = range->second;
        if (shape.size() != low.size()) return complain("another number of axes");
        for (std::size_t i = 0; i < shape.size(); ++i)
            if (shape[i] < low[i] || shape[i] > high[i])
                return complain("the shape is outside the profile");
        shapes_[name] = shape;
        prepared_ = false;
        return true;
    }
    Dims getTensorShape(char const* name) const noexcept override {
        Dims dims{-1, {}};
        if (!complete()) return dims;
        const Shape shape = facts_.output(name, shapes_);
        dims.nbDims = static_cast<std::int32_t>(shape.size());
        std::memcpy(dims.d, shape.data(), shape.size() * sizeof shape[0]);
        return dims;
    }
    std::size_t updateDeviceMemorySizeForShapes() noexcept override {
        std::size_t pixels = 0;
        for (const auto& [name, shape] : shapes_) pixels += count(shape);
        if (complete() && facts_.no_scratch) (void)complain("an allocation failed");
        return complete() && !facts_.no_scratch ? kScratchPerPixel * pixels : 0;
    }
    void setDeviceMemoryV2(void* memory, std::int64_t size) noexcept override {
        if (!aligned(memory)) sim_report("scratch memory is not aligned to 256 bytes");
        scratch_ = memory;
        prepared_ = false;
        scratch_size_ = static_cast<std::size_t>(size);
    }
    bool setTensorAddress(char const* name, void* data) noexcept override {
        if (!aligned(data)) sim_report("a tensor is not aligned to 256 bytes");
        at_[name] = static_cast<float*>(data);
        return true;
    }
#ifdef TRT_MAJOR_RTX
    bool isStreamCapturable(cudaStream_t) const noexcept override { return !facts_.uncapturable; }
#endif
    bool enqueueV3(cudaStream_t stream) noexcept override {
        if (!complete()) return complain("not every input has a shape");
        int capturing = 0;
        (void)cuStreamIsCapturing(stream, &capturing);
        if (capturing != 0 && !eager_)
            sim_report("a run is captured before the kernels of its shape are compiled");
        if (capturing != 0 && !prepared_)
            sim_report("a run is captured straight after its shapes or scratch memory changed");
        if (capturing != 0 && (facts_.uncapturable || facts_.breaks_captures)) {
            sim_break_capture(stream);
            return complain("the engine cannot be captured");
        }
        prepared_ = true;
        const std::size_t scratch = updateDeviceMemorySizeForShapes();
        if (scratch_ == nullptr || scratch_size_ < scratch)
            return complain("too little scratch memory");
        Run run{&facts_, shapes_, {}};
        for (const std::string& name : facts_.outputs)
            run.shapes[name] = facts_.output(name, shapes_);
        std::vector<SimRange> ranges = {{reinterpret_cast<std::uintptr_t>(scratch_), scratch, 1}};
        for (const auto& [name, shape] : run.shapes) {
            if (at_[name] == nullptr) return complain("the address of '" + name + "' is not set");
            run.at[name] = at_[name];
            ranges.push_back({reinterpret_cast<std::uintptr_t>(at_[name]), 4 * count(shape),
                              shapes_.count(name) == 0});
        }
        runs_.push_back(std::make_shared<Run>(std::move(run)));
        return sim_kernel(stream, kernel, runs_.back().get(), static_cast<int>(ranges.size()),
                          ranges.data()) == 0;
    }

  private:
    static bool aligned(const void* address) {
        return reinterpret_cast<std::uintptr_t>(address) % 256 == 0;
    }
    [[nodiscard]] bool complete() const { return shapes_.size() == facts_.inputs.size(); }
    bool complain(const std::string& what) const {
        log_error(log_, what);
        return false;
    }

    const Facts& facts_;
    ILogger& log_;
    bool eager_;
    std::size_t profile_ = 0;
    std::map<std::string, Shape> shapes_;
    std::map<std::string, float*> at_;
    void* scratch_ = nullptr;
    std::size_t scratch_size_ = 0;
    bool prepared_ = false;                   // by a run since shapes or scratch memory changed
    std::vector<std::shared_ptr<Run>> runs_;  // captured graphs may still use them
};

class Engine : public ICudaEngine {
  public:
    Engine(Facts facts, ILogger& log) : facts_(std::move(facts)), log_(log) {
        sim_needs_context("an engine is loaded");
    }
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;
    ~Engine() override { sim_needs_context("an engine is given back"); }

    std::int32_t getNbIOTensors() const noexcept override {
        return static_cast<std::int32_t>(facts_.inputs.size() + facts_.outputs.size());
    }
    char const* getIOTensorName(std::int32_t index) const noexcept override {
        const auto i = static_cast<std::size_t>(index);
        return i < facts_.inputs.size() ? facts_.inputs[i].c_str()
                                        : facts_.outputs[i - facts_.inputs.size()].c_str();
    }
    DataType getTensorDataType(char const*) const noexcept override { return DataType::kFLOAT; }
    TensorIOMode getTensorIOMode(char const* name) const noexcept override {
        for (const std::string& each : facts_.inputs)
            if (each == name) return TensorIOMode::kINPUT;
        return TensorIOMode::kOUTPUT;
    }
    std::int64_t getDeviceMemorySizeForProfileV2(std::int32_t) const noexcept override {
        return kScratchPerPixel;  // at least
    }
    IExecutionContext* createExecutionContext(
        ExecutionContextAllocationStrategy strategy) noexcept override {
        return strategy == ExecutionContextAllocationStrategy::kUSER_MANAGED
                   ? new Context(facts_, log_)
                   : nullptr;
    }
#ifdef TRT_MAJOR_RTX
    IExecutionContext* createExecutionContext(IRuntimeConfig* config) noexcept override {
        const auto& given = *static_cast<Config*>(config);
        return given.managed ? new Context(facts_, log_, given.eager) : nullptr;
    }
    IRuntimeConfig* createRuntimeConfig() noexcept override { return new Config; }
#endif

  private:
    Facts facts_;
    ILogger& log_;
};

class Runtime : public IRuntime {
  public:
    explicit Runtime(ILogger& log) : log_(log) {}

    ICudaEngine* deserializeCudaEngine(void const* data, std::size_t size) noexcept override {
        Facts facts;
        const bool read = Facts::read({static_cast<const char*>(data), size}, facts);
        if (read && (host_code_ || !facts.host_code)) return new Engine(std::move(facts), log_);
        log_error(log_, read ? "host code is not allowed" : "magic tag does not match");
        return nullptr;
    }
    void setEngineHostCodeAllowed(bool allowed) noexcept override { host_code_ = allowed; }
#ifdef TRT_MAJOR_RTX
    EngineValidity getEngineValidity(void const* data, std::int64_t size,
                                     std::uint64_t* diagnostics) const noexcept override {
        using Kind = EngineInvalidityDiagnostics;
        Facts facts;
        const bool fine =
            Facts::read({static_cast<const char*>(data), static_cast<std::size_t>(size)}, facts);
        *diagnostics = 0;
        if (fine && facts.capability == "8.9") return EngineValidity::kVALID;
        *diagnostics =
            static_cast<std::uint64_t>(fine ? Kind::kUNSUPPORTED_CC : Kind::kMALFORMED_ENGINE);
        return EngineValidity::kINVALID;
    }
#endif

  private:
    ILogger& log_;
    bool host_code_ = false;
};

bool refuses_to_start = false;
std::int32_t minor_version = NV_TENSORRT_MINOR;

}  // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT void* createInferRuntime_INTERNAL(void* given, std::int32_t) noexcept {
    auto& log = *static_cast<ILogger*>(given);
    last_log = given;
    if (first_log == nullptr) first_log = &log;
    if (refuses_to_start) {
        log_error(log, "CUDA driver is insufficient");
        return nullptr;
    }
    return static_cast<IRuntime*>(new Runtime(log));
}
EXPORT std::int32_t getInferLibMajorVersion() noexcept { return NV_TENSORRT_MAJOR; }
EXPORT std::int32_t getInferLibMinorVersion() noexcept { return minor_version; }
EXPORT std::int32_t getInferLibPatchVersion() noexcept { return 1; }
/// Lets the library be of another minor version than its headers. Both libraries have this
/// function: it is looked up in one of them.
EXPORT void sim_minor_version(std::int32_t minor) { minor_version = minor; }
#ifdef TRT_MAJOR_RTX
/// Whether the library refuses to start, as it does with a driver that is too old.
EXPORT void sim_refuse_to_start(int refuse) { refuses_to_start = refuse != 0; }
/// The log that the library got last.
EXPORT const void* sim_last_log() { return last_log; }
/// Logs an error, outside of any call.
EXPORT void sim_log(const char* line) { log_error(*first_log, line); }
/// What the library logs, in a thread of its own, before every error; "": nothing.
EXPORT void sim_log_before(const char* line) { before() = line; }
/// The runtime cache that was read last.
EXPORT const char* sim_kernels() { return kernels_of_last_cache().c_str(); }
#endif
