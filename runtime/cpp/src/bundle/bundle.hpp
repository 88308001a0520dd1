// A bundle on disk: the manifest, and the bytes of its files once their digest has been checked.
#pragma once

#include <filesystem>
#include <string>

#include "bundle/manifest.hpp"

namespace hcflow {

/// An opened bundle: its folder and its manifest. Files are read and checked when used.
class Bundle {
  public:
    /// Open the bundle in a folder; the path of its manifest.json does as well.
    /// Throws Error (bundle): nothing there, not a bundle, or a manifest that cannot be used.
    static Bundle open(const std::string& path);

    [[nodiscard]] const std::filesystem::path& folder() const { return folder_; }
    [[nodiscard]] const Manifest& manifest() const { return manifest_; }

    /// The graph with these properties; with latents where there is a choice.
    /// Throws Error (bundle): there is none, or it needs a newer runtime.
    [[nodiscard]] const Graph& graph(Direction direction, Precision precision, bool latents) const;

    /// Whether `graph` finds one of this direction and precision.
    [[nodiscard]] bool has(Direction direction, Precision precision) const;

    /// The bytes of one file, equal to the size and digest that the manifest gives.
    /// Throws Error (bundle): missing, outside the bundle, of another size or digest.
    [[nodiscard]] std::string read(const std::string& file, const std::string& sha256,
                                   std::uint64_t size) const;

    /// The bytes of a graph. Throws Error (bundle): as `read`, or tensors that lie in another file,
    /// whose digest nobody knows.
    [[nodiscard]] std::string read_graph(const Graph& graph) const;

  private:
    Bundle(std::filesystem::path folder, Manifest manifest);

    std::filesystem::path folder_;
    Manifest manifest_;
};

}  // namespace hcflow
