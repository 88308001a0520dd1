// A caller's wish that a running call ends (runtime/inference/cancel.py).
#pragma once

#include "core/error.hpp"

namespace hcflow {

/// Throws Error (cancelled) once the caller says so.
inline void check_cancelled(const Cancel& cancel) {
    if (cancel && cancel())
        throw_error(ErrorCode::cancelled, "cancelled by the caller: the result is undefined");
}

}  // namespace hcflow
