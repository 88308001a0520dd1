// A bundle of the null backend in a temporary folder, and what tests do with it.
#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "hcflow/hcflow.hpp"

namespace tests {

/// Gone at the end. `change` may alter the manifest before it is written.
class BundleFolder {
  public:
    explicit BundleFolder(const std::function<void(nlohmann::json&)>& change = {});
    BundleFolder(const BundleFolder&) = delete;
    BundleFolder& operator=(const BundleFolder&) = delete;
    ~BundleFolder();

    [[nodiscard]] std::string path() const { return folder.string(); }
    [[nodiscard]] hcflow::Model open() const;

    std::filesystem::path folder;
    nlohmann::json manifest;
};

void write(const std::filesystem::path& path, const std::string& bytes);

/// Pixels that differ everywhere.
hcflow::Image noise(std::size_t width, std::size_t height, int channels, hcflow::Pixel type);

/// Options with this temperature.
hcflow::UpscaleOptions tau(double value);

/// The one line of the error that an action throws, "code: message"; "nothing" when it throws none.
std::string error_of(const std::function<void()>& action);

/// Whether a text stands in another; on a failure doctest shows both.
bool has(const std::string& text, const std::string& part);

}  // namespace tests
