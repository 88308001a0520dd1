// The log of NVIDIA's library, and the errors that one call logs. Included by nvinfer_loaded.hpp.
#pragma once

#include <NvInferRuntime.h>

#include <algorithm>
#include <cstddef>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/error.hpp"

namespace hcflow::gpu {
namespace {

class LoggedErrors;

/// The library's log.
class Log : public nvinfer1::ILogger {
  public:
    /// The only one: the library keeps the address of the first log that it gets, and writes to it
    /// until the process ends.
    static Log& of_library() {
        static Log& log = *new Log;
        return log;
    }

    void log(Severity severity, nvinfer1::AsciiChar const* message) noexcept override;

  private:
    friend class LoggedErrors;

    std::mutex mutex_;
    std::vector<LoggedErrors*> listening_;
};

/// The errors that the library logs in this thread and in threads of its own while this object
/// exists, which is as long as one call.
class LoggedErrors {
  public:
    LoggedErrors() {
        const std::lock_guard<std::mutex> lock(log_.mutex_);
        log_.listening_.push_back(this);
    }
    LoggedErrors(const LoggedErrors&) = delete;
    LoggedErrors& operator=(const LoggedErrors&) = delete;
    ~LoggedErrors() {
        const std::lock_guard<std::mutex> lock(log_.mutex_);
        auto& all = log_.listening_;
        all.erase(std::find(all.begin(), all.end(), this));
    }

    /// All of them, the first one first.
    [[nodiscard]] std::string text() const {
        const std::lock_guard<std::mutex> lock(log_.mutex_);
        return lines_.empty() ? "the library gives no reason" : join(lines_, "; ");
    }

  private:
    friend class Log;
    static constexpr std::size_t kMost = 16;

    void add(const std::string& line) {
        if (lines_.size() == kMost) lines_.pop_back();  // the first ones name the cause
        lines_.push_back(line);
    }

    Log& log_ = Log::of_library();
    std::thread::id thread_ = std::this_thread::get_id();
    std::vector<std::string> lines_;
};

inline void Log::log(Severity severity, nvinfer1::AsciiChar const* message) noexcept try {
    if (severity > Severity::kERROR) return;
    const std::string line(message);
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto here = [](const LoggedErrors* each) {
        return each->thread_ == std::this_thread::get_id();
    };
    // No call listens in a thread of the library's own: any of them may be its cause.
    const bool known = std::any_of(listening_.begin(), listening_.end(), here);
    for (LoggedErrors* each : listening_)
        if (!known || here(each)) each->add(line);
} catch (...) {  // no exception may reach the library; the line is lost
}

}  // namespace
}  // namespace hcflow::gpu
