// The manifest of a bundle, read and checked as in runtime/bundle/manifest.py (docs/bundle.md).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/tensor.hpp"
#include "hcflow/hcflow.hpp"

namespace hcflow {

inline constexpr const char* kManifestName = "manifest.json";
inline constexpr std::int64_t kSchema = 2;
inline constexpr std::int64_t kContract = 1;

enum class Direction { inverse, forward };

/// What a graph was made for.
enum class Target { any, rtx };

std::string to_string(Direction direction);
std::string to_string(Precision precision);
std::string to_string(Target target);

/// A latent: [N, channels, H·factor, W·factor] for an LR image of H×W.
struct Level {
    std::size_t channels;
    std::size_t factor;

    /// The shape of the latent of an LR window: [1, channels, height·factor, width·factor].
    [[nodiscard]] Shape shape(std::size_t height, std::size_t width) const {
        return {1, channels, height * factor, width * factor};
    }
};

/// The name of a graph's latent: "z1" for levels[0].
std::string latent_name(std::size_t level);

/// One ONNX file of a bundle.
struct Graph {
    Direction direction;
    Precision precision;
    bool latents;  ///< has z1 … zL as inputs (inverse) or outputs (forward)
    std::string io;
    std::int64_t contract;
    std::string file;
    std::string sha256;
    std::uint64_t bytes;
    std::uint64_t bytes_per_lr_pixel;  ///< peak memory of live activations
    bool within_budget;
    bool tf32;  ///< float32 convolutions may use TF32
    std::string openvino_precision_hint;
    std::optional<std::size_t> tile;  ///< LR pixels; none: images are not tiled
    std::optional<std::size_t> overlap;
    std::size_t border = 0;     ///< what an image is padded by on each side, LR pixels
    std::vector<Tiling> grids;  ///< all recorded grids, {tile, overlap} first; none: one grid
    std::optional<double> neighbours;  ///< largest difference of neighbouring tiles in the build
    Target target = Target::any;

    /// Whether this library can run it.
    [[nodiscard]] bool is_supported() const { return contract == kContract && io == "float32"; }
};

/// The part of a manifest that this library uses.
struct Manifest {
    std::string name;
    std::string task;
    std::size_t scale;
    double default_tau;
    std::string latent_scheme;
    std::vector<Level> levels;
    std::vector<Graph> graphs;         ///< without those of kinds that are unknown here
    std::vector<std::string> engines;  ///< entries as JSON, decoded when an engine is looked for
};

/// Parses and checks a manifest; `where` names it in errors.
/// Throws Error (bundle): not JSON, a newer schema, or a value is missing or invalid.
Manifest parse_manifest(const std::string& json, const std::string& where);

}  // namespace hcflow
