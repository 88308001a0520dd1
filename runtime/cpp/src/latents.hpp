// Latents drawn by position (docs/latents.md), bit for bit those of runtime/latents.py.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace hcflow {

/// The id of the scheme in a manifest.
inline constexpr const char* kLatentScheme = "philox4x32-10/box-muller-f32/1";

/// A region of one latent in absolute coordinates; rows and columns are below 2^32, and count
/// modulo 2^32: those of an image's border are -1, -2, ..., down to -2^31.
struct Region {
    std::int64_t top, left;
    std::size_t height, width;
};

/// Philox4x32-10 of a counter and a 64-bit key, low word first.
std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter, std::uint64_t key);

/// Normals N(0, tau²) [channels, height, width] of a region. level: 1 is the finest, below 2^16;
/// channels: at most 2^16; tau: finite, >= 0. Throws Error (parameter): out of range.
std::vector<float> draw_latent(std::uint64_t seed, std::uint32_t sample, std::uint32_t level,
                               std::size_t channels, const Region& region, double tau);

/// Throws Error (parameter) unless tau is a finite number >= 0.
void check_tau(double tau);

}  // namespace hcflow
