#include "core/error.hpp"
#include "core/one_line.hpp"
#include "hcflow/hcflow.hpp"
#include "image/pixels.hpp"
#include "system/machine.hpp"

namespace hcflow {

Error::Error(ErrorCode code, const std::string& message)
    : std::runtime_error(one_line(message)), code_(code) {}
Error::~Error() = default;

Image::Image(std::size_t width, std::size_t height, int channels, Pixel type)
    : width_(width), height_(height), channels_(channels), type_(type) {
    // `this` stands in for the data, so that the null check passes.
    const ConstView view = checked({this, width, height, channels, type, 0}, "image", false);
    bytes_.resize(view.stride * height);
}

View Image::view() { return {bytes_.data(), width_, height_, channels_, type_, 0}; }
ConstView Image::view() const { return {bytes_.data(), width_, height_, channels_, type_, 0}; }

std::string user_cache() {
    if (std::string chosen = variable("HCFLOW_CACHE"); !chosen.empty()) return chosen;
    if (const std::string base = variable("XDG_CACHE_HOME"); !base.empty()) return base + "/hcflow";
    if (const std::string home = home_folder(); !home.empty()) return home + "/.cache/hcflow";
    return "";
}

const char* version() noexcept { return HCFLOW_VERSION; }

}  // namespace hcflow
