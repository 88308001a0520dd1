// A bundle for the null backend in a temporary folder, and helpers of tests.
#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "hcflow/hcflow.hpp"

namespace tests {

/// Removed by the destructor. `change` may alter the manifest before it is written.
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

/// Makes a pipe or a link, and tells whether the system has such things: Windows has no pipes in
/// folders, and links need rights there.
bool make_pipe(const std::filesystem::path& path);
bool make_link(const std::filesystem::path& target, const std::filesystem::path& link);

void write(const std::filesystem::path& path, const std::string& bytes);

/// An image of pseudo-random pixels.
hcflow::Image noise(std::size_t width, std::size_t height, int channels, hcflow::Pixel type);

/// Options with this temperature.
hcflow::UpscaleOptions tau(double value);

/// The error that an action throws, as "code: message"; "nothing" if it throws none.
std::string error_of(const std::function<void()>& action);

/// Whether a text contains another.
bool has(const std::string& text, const std::string& part);

}  // namespace tests
