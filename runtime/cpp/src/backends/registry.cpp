#include <algorithm>
#include <array>

#include "core/error.hpp"
#include "gpu/device.hpp"
#include "session.hpp"

namespace hcflow {
namespace {

bool always(const Bundle&, const Options&) { return true; }
bool never(const Bundle&, const Options&) { return false; }
Precision as_given(const Bundle&, const Options& options) { return options.precision; }

struct Entry {
    const char* name;
    Opener open;  // null: not compiled in
    bool (*for_auto)(const Bundle&, const Options&);
    Precision (*precision)(const Bundle&, const Options&);
};

// Best first: "auto" is the first that is compiled in and can run the bundle.
constexpr std::array<Entry, 4> kBackends = {{
#ifdef HCFLOW_WITH_TENSORRT
    {"tensorrt", open_tensorrt, has_tensorrt_engines, tensorrt_precision},
#else
    {"tensorrt", nullptr, never, as_given},
#endif
#ifdef HCFLOW_WITH_TENSORRT_RTX
    {"tensorrt-rtx", open_tensorrt_rtx, has_tensorrt_rtx_engines, tensorrt_rtx_precision},
#else
    {"tensorrt-rtx", nullptr, never, as_given},
#endif
#ifdef HCFLOW_WITH_OPENVINO
    {"openvino", open_openvino, always, as_given},
#else
    {"openvino", nullptr, always, as_given},
#endif
#ifdef HCFLOW_WITH_NULL
    {"null", open_null, never, as_given},
#else
    {"null", nullptr, never, as_given},
#endif
}};

std::string list(const std::vector<std::string>& names) {
    return names.empty() ? "none" : join(names);
}

}  // namespace

std::vector<std::string> backends() {
    std::vector<std::string> names;
    for (const Entry& entry : kBackends)
        if (entry.open != nullptr) names.emplace_back(entry.name);
    return names;
}

Targets targets_of(const std::string& backend) {
    if (backend == "tensorrt-rtx") return {Target::rtx, Target::any};
    if (backend == "tensorrt") return {Target::any, Target::rtx};
    return {Target::any};
}

std::vector<std::string> gpus() {
#if defined(HCFLOW_WITH_TENSORRT) || defined(HCFLOW_WITH_TENSORRT_RTX)
    try {
        return gpu::Device::names();
    } catch (const Error&) {  // no driver or no GPU
    }
#endif
    return {};
}

bool runs_on_gpu(const std::string& backend) {
    return backend == "tensorrt" || backend == "tensorrt-rtx";
}

void check_backend(const std::string& name) {
    std::vector<std::string> known = {"auto"};
    for (const Entry& entry : kBackends) known.emplace_back(entry.name);
    if (std::find(known.begin(), known.end(), name) == known.end())
        throw_error(ErrorCode::parameter, "unknown backend '", name, "': one of ", list(known));
    const std::vector<std::string> there = backends();
    if (name != "auto" && std::find(there.begin(), there.end(), name) == there.end())
        throw_error(ErrorCode::backend, "backend '", name,
                    "' was not compiled in; available: ", list(there),
                    ". Build hcflow where CMake finds its SDK");
}

std::vector<Backend> find_backends(const Bundle& bundle, const Options& options) {
    check_backend(options.backend);
    const bool any = options.backend == "auto";
    std::vector<Backend> found;
    for (const Entry& entry : kBackends) {
        if (entry.open == nullptr || (!any && options.backend != entry.name)) continue;
        Options own = options;
        own.precision = entry.precision(bundle, options);
        if (!any || entry.for_auto(bundle, own))
            found.push_back({entry.name, entry.open, own.precision});
    }
    if (!found.empty()) return found;
    throw_error(ErrorCode::backend, "no backend can run this bundle; available: ", list(backends()),
                ". Build hcflow where CMake finds OpenVINO, or compile engines of the bundle");
}

void Session::enqueue(const std::vector<DeviceTensor>&, const std::vector<DeviceTensor>&, void*) {
    throw_error(
        ErrorCode::backend,
        "this backend does not run on a GPU: open the bundle with tensorrt or tensorrt-rtx");
}

}  // namespace hcflow
