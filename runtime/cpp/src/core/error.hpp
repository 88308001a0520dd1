// Throwing, with messages put together from parts.
#pragma once

#include <sstream>
#include <string>

#include "hcflow/hcflow.hpp"

namespace hcflow {

/// The parts written one after the other, numbers as std::ostream writes them.
template <typename... Parts>
std::string text(const Parts&... parts) {
    std::ostringstream out;
    (out << ... << parts);
    return out.str();
}

template <typename Range>
std::string joined(const Range& parts, const char* between = ", ") {
    std::string all;
    for (const auto& each : parts) all += text(all.empty() ? "" : between, each);
    return all;
}

template <typename... Parts>
[[noreturn]] void fail(ErrorCode code, const Parts&... parts) {
    throw Error(code, text(parts...));
}

}  // namespace hcflow
