// Throws errors with messages put together from parts.
#pragma once

#include <sstream>
#include <string>

#include "hcflow/hcflow.hpp"

namespace hcflow {

/// Concatenates the parts; numbers are formatted as std::ostream formats them.
template <typename... Parts>
std::string concat(const Parts&... parts) {
    std::ostringstream out;
    (out << ... << parts);
    return out.str();
}

template <typename Range>
std::string join(const Range& parts, const char* between = ", ") {
    std::string all;
    for (const auto& each : parts) all += concat(all.empty() ? "" : between, each);
    return all;
}

template <typename... Parts>
[[noreturn]] void throw_error(ErrorCode code, const Parts&... parts) {
    throw Error(code, concat(parts...));
}

}  // namespace hcflow
