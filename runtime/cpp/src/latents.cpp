// Compiled with -ffp-contract=off: the scheme rounds after each product, a fused multiply-add does
// not.
#include "latents.hpp"

#include <cmath>
#include <cstring>

#include "core/error.hpp"

namespace hcflow {
namespace {

constexpr double kMostTau = 1e6;                  // as in runtime/latents.py
constexpr std::uint32_t kSqrtHalf = 0x3F3504F3U;  // bits of the float32 nearest to √½

float from_bits(std::uint32_t bits) {
    float value = 0;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

std::uint32_t to_bits(float value) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

std::uint32_t high(std::uint64_t product) { return static_cast<std::uint32_t>(product >> 32U); }
std::uint32_t low(std::uint64_t product) { return static_cast<std::uint32_t>(product); }

/// √(−2·ln((word + ½)/2³²))
float radius(std::uint32_t word) {
    const float u = static_cast<float>(word) + 0.5F;
    const std::uint32_t bits = to_bits(u) - kSqrtHalf;
    // An arithmetic shift: guaranteed for negative numbers since C++20, and done by every compiler.
    std::int32_t split = 0;
    std::memcpy(&split, &bits, sizeof split);
    const auto exponent = static_cast<float>(split >> 23);
    const float m = from_bits((bits & 0x007FFFFFU) + kSqrtHalf);
    const float s = (m - 1.0F) / (m + 1.0F);
    const float z = s * s;
    float t = 0.5985158F * z;
    t = (t + 0.7994958F) * z;
    t = (t + 1.3333364F) * z;
    t = t + 4.0F;
    return std::sqrt((32.0F - exponent) * 1.3862944F - t * s);
}

/// sin(π/2·(n + ½)/2³⁰) for n < 2³⁰
float quarter_sine(std::uint32_t n) {
    const float t = (static_cast<float>(n) + 0.5F) * 0x1p-30F;
    const float x = t * t;
    float s = 0.00015148513F * x;
    s = (s + -0.0046737664F) * x;
    s = (s + 0.07968968F) * x;
    s = (s + -0.6459637F) * x;
    s = s + 1.5707964F;
    return s * t;
}

void normal_pair(std::uint32_t radius_word, std::uint32_t angle_word, float* out) {
    const std::uint32_t n = angle_word >> 2U;
    const float r = radius(radius_word);
    const float cosine = quarter_sine(n ^ 0x3FFFFFFFU), sine = quarter_sine(n);
    out[0] = r * ((angle_word & 1U) != 0 ? -cosine : cosine);
    out[1] = r * ((angle_word & 2U) != 0 ? -sine : sine);
}

void check_span(const char* name, std::int64_t start, std::size_t size) {
    constexpr std::int64_t kEnd = std::int64_t{1} << 32U;
    if (start < -kEnd / 2 || start >= kEnd ||
        size > static_cast<std::uint64_t>(kEnd - std::max<std::int64_t>(start, 0)))
        throw_error(ErrorCode::parameter, name, " ", start, " and ", size,
                    " more: rows and columns must be from -2^31 to 2^32 - 1");
}

}  // namespace

std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> c, std::uint64_t key) {
    std::uint32_t k0 = low(key), k1 = high(key);
    for (int round = 0; round < 10; ++round) {
        const std::uint64_t p0 = std::uint64_t{c[0]} * 0xD2511F53U;
        const std::uint64_t p1 = std::uint64_t{c[2]} * 0xCD9E8D57U;
        c = {high(p1) ^ c[1] ^ k0, low(p1), high(p0) ^ c[3] ^ k1, low(p0)};
        k0 += 0x9E3779B9U;
        k1 += 0xBB67AE85U;
    }
    return c;
}

std::vector<float> draw_latent(std::uint64_t seed, std::uint32_t sample, std::uint32_t level,
                               std::size_t channels, const Region& region, double tau) {
    check_tau(tau);
    check_span("row", region.top, region.height);
    check_span("column", region.left, region.width);
    if (level >= 1U << 16U || channels > 1U << 16U)
        throw_error(ErrorCode::parameter, "level ", level, " with ", channels,
                    " channels: both must fit into 16 bits");
    std::vector<float> values(channels * region.height * region.width);
    if (tau == 0 || values.empty()) return values;
    const auto factor = static_cast<float>(tau);
    const std::int64_t right = region.left + static_cast<std::int64_t>(region.width);
    const auto row_number = static_cast<std::uint64_t>(region.top);  // modulo 2^32 in a counter
    float* row = values.data();
    for (std::size_t channel = 0; channel < channels; ++channel)
        for (std::size_t y = 0; y < region.height; ++y, row += region.width)
            for (std::int64_t block = region.left & ~std::int64_t{3}; block < right; block += 4) {
                std::array<float, 4> normals{};
                const auto words =
                    philox4x32({low(static_cast<std::uint64_t>(block)) >> 2U, low(row_number + y),
                                level << 16U | static_cast<std::uint32_t>(channel), sample},
                               seed);
                normal_pair(words[0], words[1], normals.data());
                normal_pair(words[2], words[3], normals.data() + 2);
                for (std::int64_t x = block; x < block + 4; ++x)
                    if (x >= region.left && x < right)
                        row[x - region.left] =
                            factor * normals[static_cast<std::size_t>(x - block)];
            }
    return values;
}

void check_tau(double tau) {
    if (!(std::isfinite(tau) && tau >= 0))
        throw_error(ErrorCode::parameter, "tau is ", tau,
                    ": it must be a finite number, 0 or more");
    if (tau > kMostTau)
        throw_error(ErrorCode::parameter, "tau is ", tau, ": it must be ", kMostTau, " or less");
}

}  // namespace hcflow
