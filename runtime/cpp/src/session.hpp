// The interface that a backend implements, and the backends that are compiled in.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bundle/bundle.hpp"
#include "core/tensor.hpp"

namespace hcflow {

/// One loaded graph.
class Session {
  public:
    Session() = default;
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;
    virtual ~Session() = default;

    /// Runs the graph; its outputs are float32 NCHW. May be called from many threads at once.
    /// Throws Error (backend): the backend failed.
    virtual std::vector<Tensor> run(const std::vector<Feed>& feeds) = 0;

    /// Takes the GPU memory that a run of these inputs needs, before the run. Throws
    /// gpu::OutOfGpuMemory, Error (backend).
    virtual void reserve(const std::vector<std::pair<std::string, Shape>>&) {}

    /// Enqueues a run on GPU memory in the caller's CUDA stream. Throws Error (backend): it failed,
    /// or the backend does not run on a GPU; (parameter): a tensor is missing, unknown or invalid.
    virtual void enqueue(const std::vector<DeviceTensor>& inputs,
                         const std::vector<DeviceTensor>& outputs, void* stream);
};

/// What a backend needs to open a graph. It must read files with Bundle::read.
struct OpenRequest {
    const Bundle& bundle;
    const Graph& graph;
    int threads;        ///< at least 1
    std::string cache;  ///< folder for compiled graphs; empty: none are kept
    int gpu;            ///< number of the GPU, for GPU backends
};

/// The graphs that a backend takes, by what they were made for, the best first.
Targets targets_of(const std::string& backend);

/// Throws Error (bundle, backend).
using Opener = std::unique_ptr<Session> (*)(const OpenRequest& request);

struct Backend {
    std::string name;
    Opener open;
    Precision precision;  ///< as in the options; on a GPU `automatic` is settled
};

/// The backend named by the options; for "auto" every backend that is compiled in and should run
/// the bundle, best first. Throws Error (parameter): unknown backend; (backend): not compiled in,
/// or none can run the bundle.
std::vector<Backend> find_backends(const Bundle& bundle, const Options& options);
/// Whether a backend runs on NVIDIA GPUs.
bool runs_on_gpu(const std::string& backend);
/// Checks a backend's name. Throws Error (parameter, backend): as find_backends.
void check_backend(const std::string& name);

std::unique_ptr<Session> open_openvino(const OpenRequest& request);
std::unique_ptr<Session> open_tensorrt(const OpenRequest& request);
std::unique_ptr<Session> open_tensorrt_rtx(const OpenRequest& request);
/// Simple arithmetic in place of a network (docs/cpp.md); for tests, never used by "auto".
std::unique_ptr<Session> open_null(const OpenRequest& request);

/// The precision of the options; of `automatic` the one that the GPU takes.
Precision tensorrt_precision(const Bundle& bundle, const Options& options);
Precision tensorrt_rtx_precision(const Bundle& bundle, const Options& options);

/// Whether there is a GPU and every graph of the precision has an engine that fits it.
bool has_tensorrt_engines(const Bundle& bundle, const Options& options);
bool has_tensorrt_rtx_engines(const Bundle& bundle, const Options& options);

}  // namespace hcflow
