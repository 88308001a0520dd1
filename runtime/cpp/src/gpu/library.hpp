// The interface to NVIDIA's library: what running an engine needs.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/tensor.hpp"
#include "gpu/driver.hpp"
#include "hcflow/hcflow.hpp"

namespace hcflow::gpu {

/// The GPU has too little free memory, or the host for copies: smaller images or tiles may fit.
struct OutOfGpuMemory : Error {
    explicit OutOfGpuMemory(const std::string& message) : Error(ErrorCode::backend, message) {}
};

/// Throws OutOfGpuMemory if the library's reason is that, else Error (backend).
[[noreturn]] void throw_failure(const std::string& what, const std::string& reason,
                                const std::string& remedy = "");

/// An execution context of an engine, for one run at a time. Methods throw Error (backend) with the
/// library's reason.
class Context {
  public:
    Context() = default;
    Context(const Context&) = delete;
    Context& operator=(const Context&) = delete;
    virtual ~Context() = default;

    virtual void select_profile(std::size_t index, Handle stream) = 0;
    virtual void set_input_shape(const std::string& name, const Shape& shape) = 0;
    /// The shape of an output. Every input's shape must be set.
    [[nodiscard]] virtual Shape output_shape(const std::string& name) = 0;
    /// Bytes of scratch memory for the shapes that are set.
    [[nodiscard]] virtual std::size_t scratch_size() = 0;
    virtual void set_scratch(Address address, std::size_t size) = 0;
    virtual void set_address(const std::string& name, Address address) = 0;
    /// Whether a run in this stream may be captured; true if only trying can tell.
    [[nodiscard]] virtual bool may_be_captured(Handle stream) = 0;
    virtual void enqueue(Handle stream) = 0;
};

/// An engine on the GPU; every input and output is float32.
class Engine {
  public:
    Engine() = default;
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;
    virtual ~Engine() = default;

    [[nodiscard]] const std::vector<std::string>& inputs() const { return inputs_; }
    [[nodiscard]] const std::vector<std::string>& outputs() const { return outputs_; }
    /// Creates a context. The caller provides its scratch memory. `eager`: kernels for a shape are
    /// compiled before its first run, not beside it. Throws Error (backend).
    [[nodiscard]] virtual std::unique_ptr<Context> context(bool eager) = 0;
    /// Whether it compiles kernels at run time, so that an eager context differs.
    [[nodiscard]] virtual bool compiles_at_run_time() const { return false; }
    /// Saves the kernels that the library compiled at run time, in place of those that another
    /// process saved: the last one wins. Failures are ignored.
    virtual void keep_runtime_cache() {}

  protected:
    std::vector<std::string> inputs_, outputs_;
};

/// A library that runs engines.
class Library {
  public:
    Library() = default;
    Library(const Library&) = delete;
    Library& operator=(const Library&) = delete;
    virtual ~Library() = default;

    /// "10.14.1"
    [[nodiscard]] virtual std::string version() const = 0;
    /// Loads an engine. `where` names it in errors, `remedy` says how to get another;
    /// `runtime_cache`: the file for kernels compiled at run time, or empty; `host_code`: the
    /// engine contains host code, as version-compatible engines do. Throws Error (backend).
    [[nodiscard]] virtual std::unique_ptr<Engine> load(const std::string& data,
                                                       const std::string& where,
                                                       const std::string& remedy,
                                                       const std::filesystem::path& runtime_cache,
                                                       bool host_code) = 0;
};

}  // namespace hcflow::gpu
