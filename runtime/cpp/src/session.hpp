// What runs a graph: one small interface, and the table of those compiled in.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "bundle/bundle.hpp"
#include "core/tensor.hpp"

namespace hcflow {

/// One graph, loaded and ready.
class Session {
  public:
    Session() = default;
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;
    virtual ~Session() = default;

    /// The outputs of a graph, float32 NCHW; may be called from many threads at once.
    /// Throws Error (backend): the backend failed.
    virtual std::vector<Tensor> run(const std::vector<Feed>& feeds) = 0;

    /// Put a run on GPU memory into the caller's CUDA stream. Throws Error (backend): it failed, or
    /// this backend runs on no GPU; (parameter): a tensor that the graph does not have.
    virtual void enqueue(const std::vector<DeviceTensor>& inputs,
                         const std::vector<DeviceTensor>& outputs, void* stream);
};

/// What a backend gets to open a graph of a bundle. It must read its files by Bundle::read.
struct OpenRequest {
    const Bundle& bundle;
    const Graph& graph;
    int threads;        ///< at least 1
    std::string cache;  ///< folder for compiled graphs; empty: none
    int gpu;            ///< number of the GPU, for backends that run on one
};

/// Throws Error (bundle, backend).
using Opener = std::unique_ptr<Session> (*)(const OpenRequest& request);

struct Backend {
    std::string name;
    Opener open;
};

/// The backend of options.backend; for "auto" all compiled in that should run the bundle, best
/// first. Throws Error (parameter): no such backend; (backend): none, or not compiled in.
std::vector<Backend> find_backends(const Bundle& bundle, const Options& options);
/// Throws as find_backends does, before a bundle is there.
void check_backend(const std::string& name);

std::unique_ptr<Session> open_openvino(const OpenRequest& request);
std::unique_ptr<Session> open_tensorrt(const OpenRequest& request);
std::unique_ptr<Session> open_tensorrt_rtx(const OpenRequest& request);
/// No network, but arithmetic of the same shapes (docs/cpp.md); for tests, never "auto".
std::unique_ptr<Session> open_null(const OpenRequest& request);

/// Whether a GPU answers and every graph of the precision has an engine for it.
bool has_tensorrt_engines(const Bundle& bundle, const Options& options);
bool has_tensorrt_rtx_engines(const Bundle& bundle, const Options& options);

}  // namespace hcflow
