// Exceptions as codes of the C interface, and each thread's last error.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <exception>
#include <new>

#include "hcflow/hcflow.h"
#include "hcflow/hcflow.hpp"

namespace hcflow {

// Not a std::string: reporting that memory is short must not allocate.
inline thread_local std::array<char, 1024> last_error{};

inline void remember(const char* message) noexcept {
    const std::size_t size = std::min(std::strlen(message), last_error.size() - 1);
    std::memcpy(last_error.data(), message, size);
    last_error[size] = '\0';
    // Messages of our own are on one line already; those of the standard library may name anything.
    const auto is_control = [](char c) { return static_cast<unsigned char>(c) < 0x20; };
    std::replace_if(last_error.begin(), last_error.begin() + static_cast<std::ptrdiff_t>(size),
                    is_control, ' ');
}

template <typename Action>
hcflow_status guarded(Action&& action) noexcept {
    try {
        action();
        return HCFLOW_OK;
    } catch (const Error& error) {
        remember(error.what());
        return static_cast<hcflow_status>(error.code());
    } catch (const std::bad_alloc&) {
        remember("out of memory: give a tiling, or a smaller image");
        return HCFLOW_ERROR_MEMORY;
    } catch (const std::exception& error) {
        remember(error.what());
        return HCFLOW_ERROR_INTERNAL;
    } catch (...) {
        remember("an unknown exception");
        return HCFLOW_ERROR_INTERNAL;
    }
}

}  // namespace hcflow
