#include <array>

#include "backend.hpp"
#include "fail.hpp"

namespace hcflow {
namespace {

struct Entry {
    const char* name;
    Opener open;  // null: not compiled in
};

// Best first: "auto" is the first that is there.
constexpr std::array<Entry, 2> kBackends = {{
#ifdef HCFLOW_WITH_OPENVINO
    {"openvino", open_openvino},
#else
    {"openvino", nullptr},
#endif
#ifdef HCFLOW_WITH_NULL
    {"null", open_null},
#else
    {"null", nullptr},
#endif
}};

std::string list(const std::vector<std::string>& names) {
    std::string all;
    for (const std::string& name : names) all += (all.empty() ? "" : ", ") + name;
    return all.empty() ? "none" : all;
}

}  // namespace

std::vector<std::string> backends() {
    std::vector<std::string> names;
    for (const Entry& entry : kBackends)
        if (entry.open != nullptr) names.emplace_back(entry.name);
    return names;
}

Opener find_backend(std::string& name) {
    std::vector<std::string> known;
    for (const Entry& entry : kBackends) {
        known.emplace_back(entry.name);
        const bool automatic = name == "auto" && entry.name != std::string("null");
        if (entry.open != nullptr && (automatic || name == entry.name)) {
            name = entry.name;
            return entry.open;
        }
        if (name == entry.name)
            fail(ErrorCode::backend, "backend '", name,
                 "' was not compiled in; there are: ", list(backends()),
                 ". Build hcflow where CMake finds its SDK");
    }
    if (name == "auto")
        fail(ErrorCode::backend,
             "no backend was compiled in: build hcflow where CMake finds OpenVINO");
    fail(ErrorCode::parameter, "unknown backend '", name, "': one of auto, ", list(known));
}

}  // namespace hcflow
