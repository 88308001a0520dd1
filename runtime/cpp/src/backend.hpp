// What runs a graph: one small interface, and the table of those compiled in.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "bundle.hpp"
#include "tensor.hpp"

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
};

/// What a backend gets to open a graph of a bundle. It must read its files by Bundle::read.
struct OpenRequest {
    const Bundle& bundle;
    const Graph& graph;
    int threads;        ///< at least 1
    std::string cache;  ///< folder for compiled graphs; empty: none
};

/// Throws Error (bundle, backend).
using Opener = std::unique_ptr<Session> (*)(const OpenRequest& request);

/// The opener of a name, or of the first backend compiled in for "auto"; `name` becomes its own.
/// Throws Error (parameter): no such backend; (backend): it was not compiled in.
Opener find_backend(std::string& name);

std::unique_ptr<Session> open_openvino(const OpenRequest& request);
/// No network, but arithmetic of the same shapes (docs/cpp.md); for tests, never "auto".
std::unique_ptr<Session> open_null(const OpenRequest& request);

}  // namespace hcflow
