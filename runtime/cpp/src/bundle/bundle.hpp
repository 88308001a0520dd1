// A bundle on disk: its manifest, and its files with their digests checked.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "bundle/manifest.hpp"

namespace hcflow {

/// What a graph may be made for, the best first.
using Targets = std::vector<Target>;

/// An opened bundle: its folder and its manifest. Files are read and checked at first use.
class Bundle {
  public:
    /// Opens the bundle in a folder; the path may also be that of its manifest.json.
    /// Throws Error (bundle): the path does not exist, is not a bundle, or its manifest is invalid.
    static Bundle open(const std::string& path);

    [[nodiscard]] const std::filesystem::path& folder() const { return folder_; }
    [[nodiscard]] const Manifest& manifest() const { return manifest_; }

    /// The graph of a direction and precision for one of these targets, the best first; `latents`
    /// decides if there are two such graphs.
    /// Throws Error (bundle): there is none, or it needs a newer runtime.
    [[nodiscard]] const Graph& graph(Direction direction, Precision precision, bool latents,
                                     const Targets& targets = {Target::any}) const;

    /// Whether `graph` finds a graph of this direction and precision.
    [[nodiscard]] bool has(Direction direction, Precision precision,
                           const Targets& targets = {Target::any}) const;

    /// The graphs of a precision that are supported and for one of these targets; of graphs that
    /// differ in the target alone, that of the best one.
    [[nodiscard]] std::vector<const Graph*> preferred(Precision precision,
                                                      const Targets& targets) const;

    /// Reads one file and checks it against the size and digest in the manifest.
    /// Throws Error (bundle): it is missing, outside the bundle, or of another size or digest.
    [[nodiscard]] std::string read(const std::string& file, const std::string& sha256,
                                   std::uint64_t size) const;

    /// Reads a graph. Throws Error (bundle): as `read`, or the graph stores tensors in another
    /// file, whose digest the manifest does not have.
    [[nodiscard]] std::string read_graph(const Graph& graph) const;

  private:
    Bundle(std::filesystem::path folder, Manifest manifest);

    std::filesystem::path folder_;
    Manifest manifest_;
};

}  // namespace hcflow
