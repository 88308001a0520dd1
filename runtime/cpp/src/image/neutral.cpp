// Compiled with -ffp-contract=off, so that every operation is rounded as in NumPy.
#include "image/neutral.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/cancel.hpp"
#include "image/colour_spread.hpp"

namespace hcflow {
namespace {

constexpr std::size_t kReach = 6;  // LR pixels around colour in which networks colour their output
constexpr std::size_t kBlur = 3;   // LR pixels each way over which the weight is averaged
constexpr std::int32_t kFull = 255 * (2 * kBlur + 1) * (2 * kBlur + 1);  // the weight of all colour
constexpr float kNeutral = 1.0F;     // 8-bit steps between R, G and B that are no colour,
constexpr float kColoured = 5.0F;    // and that are colour; in between it counts in part
constexpr std::size_t kStrip = 256;  // rows of the image that are read at a time, at least

std::vector<std::size_t> range(std::size_t start, std::size_t stop) {
    std::vector<std::size_t> places(stop - start);
    std::iota(places.begin(), places.end(), start);
    return places;
}

/// Chroma in [0, 1] → how much it counts as colour, 0 to 255.
std::uint8_t count(float chroma) {
    constexpr float kSlope = 255.0F / (kColoured - kNeutral);
    const float counted = (chroma * 255.0F - kNeutral) * kSlope;
    return static_cast<std::uint8_t>(std::floor(std::clamp(counted, 0.0F, 255.0F) + 0.5F));
}

/// Where an output pixel lies between LR pixels: `lower` counts `part` of 2·scale, `upper` the
/// rest.
struct Between {
    std::size_t upper, lower;
    std::int32_t part;
};

/// `first` and `last`: the LR pixels of an axis.
Between between(std::size_t output, std::size_t scale, std::size_t last) {
    // 2·output + 1 - scale is the place in 2·scale-ths of an LR pixel; one pixel more stays
    // positive.
    const std::size_t place = 2 * output + 1 + scale, unit = 2 * scale;
    const std::size_t above = place / unit;
    return {std::min(above == 0 ? 0 : above - 1, last), std::min(above, last),
            static_cast<std::int32_t>(place % unit)};
}

}  // namespace

ColourMap::ColourMap(const ConstView& view, std::size_t block, const Cancel& cancel)
    : height_((view.height + block - 1) / block),
      width_((view.width + block - 1) / block),
      counted_(height_ * width_) {
    const std::size_t strip = (kStrip + block - 1) / block * block;
    std::vector<float> largest(width_);
    for (std::size_t top = 0; top < view.height; top += strip) {
        check_cancelled(cancel);
        const std::size_t rows = std::min(strip, view.height - top);
        for (std::size_t left = 0; left < view.width; left += strip) {
            const std::size_t columns = std::min(strip, view.width - left);
            const std::vector<float> planes =
                read_visible_colour(view, range(top, top + rows), range(left, left + columns));
            const float* red = planes.data();
            const float* green = red + rows * columns;
            const float* blue = green + rows * columns;
            for (std::size_t start = 0; start < rows; start += block) {
                std::fill(largest.begin(), largest.end(), 0.0F);
                for (std::size_t y = start; y < std::min(start + block, rows); ++y)
                    for (std::size_t x = 0; x < columns; ++x) {
                        const std::size_t i = y * columns + x;
                        const float chroma = std::max({red[i], green[i], blue[i]}) -
                                             std::min({red[i], green[i], blue[i]});
                        largest[x / block] = std::max(largest[x / block], chroma);
                    }
                std::uint8_t* out = counted_.data() + (top + start) / block * width_ + left / block;
                for (std::size_t x = 0; x < (columns + block - 1) / block; ++x)
                    out[x] = count(largest[x]);
            }
        }
    }
}

ColourMap::Weights ColourMap::weights(std::size_t top, std::size_t left, std::size_t bottom,
                                      std::size_t right) const {
    constexpr auto kAround = static_cast<std::ptrdiff_t>(kBlur);
    const auto clamped = [](std::size_t place, std::ptrdiff_t more, std::size_t size) {
        const auto moved = static_cast<std::ptrdiff_t>(place) + more;
        return static_cast<std::size_t>(
            std::clamp<std::ptrdiff_t>(moved, 0, static_cast<std::ptrdiff_t>(size) - 1));
    };
    const auto largest_around = [](std::size_t place, std::size_t size, const auto& value) {
        std::uint8_t most = 0;
        for (std::size_t i = place - std::min(place, kReach);
             i < std::min(place + kReach + 1, size); ++i)
            most = std::max(most, value(i));
        return most;
    };
    // Pixels needed: what is averaged, and what that looks at.
    const std::size_t y0 = clamped(top, -kAround, height_), x0 = clamped(left, -kAround, width_);
    const std::size_t y1 = clamped(bottom - 1, kAround, height_) + 1,
                      x1 = clamped(right - 1, kAround, width_) + 1;
    const std::size_t from = x0 - std::min(x0, kReach), to = std::min(x1 + kReach, width_);
    const std::size_t wide = x1 - x0, high = y1 - y0;
    std::vector<std::uint8_t> down(high * (to - from)), around(high * wide);
    for (std::size_t y = y0; y < y1; ++y)
        for (std::size_t x = from; x < to; ++x)
            down[(y - y0) * (to - from) + x - from] =
                largest_around(y, height_, [&](std::size_t i) { return counted_[i * width_ + x]; });
    for (std::size_t y = 0; y < high; ++y)
        for (std::size_t x = x0; x < x1; ++x)
            around[y * wide + x - x0] = largest_around(
                x, width_, [&](std::size_t i) { return down[y * (to - from) + i - from]; });
    Weights result{bottom - top, right - left, {}};
    result.values.reserve(result.height * result.width);
    std::vector<std::int32_t> sums(wide);
    for (std::size_t y = top; y < bottom; ++y) {
        std::fill(sums.begin(), sums.end(), 0);
        for (std::ptrdiff_t i = -kAround; i <= kAround; ++i) {
            const std::uint8_t* row = around.data() + (clamped(y, i, height_) - y0) * wide;
            for (std::size_t x = 0; x < wide; ++x) sums[x] += row[x];
        }
        for (std::size_t x = left; x < right; ++x) {
            std::int32_t sum = 0;
            for (std::ptrdiff_t i = -kAround; i <= kAround; ++i)
                sum += sums[clamped(x, i, width_) - x0];
            result.values.push_back(sum);
        }
    }
    return result;
}

Plane ColourMap::kept(std::size_t top, std::size_t left, std::size_t height, std::size_t width,
                      std::size_t scale) const {
    std::vector<Between> rows, columns;
    for (std::size_t y = top; y < top + height; ++y) rows.push_back(between(y, scale, height_ - 1));
    for (std::size_t x = left; x < left + width; ++x)
        columns.push_back(between(x, scale, width_ - 1));
    const std::size_t first_row = rows.front().upper, first_column = columns.front().upper;
    const Weights all =
        weights(first_row, first_column, rows.back().lower + 1, columns.back().lower + 1);
    const auto unit = static_cast<std::int32_t>(2 * scale);
    const auto full = static_cast<float>(kFull * unit * unit);
    Plane result{height, width, {}};
    result.values.reserve(height * width);
    std::vector<std::int32_t> line(all.width);
    for (const Between& row : rows) {
        const std::int32_t* upper = all.values.data() + (row.upper - first_row) * all.width;
        const std::int32_t* lower = all.values.data() + (row.lower - first_row) * all.width;
        for (std::size_t x = 0; x < all.width; ++x)
            line[x] = upper[x] * (unit - row.part) + lower[x] * row.part;
        for (const Between& column : columns) {
            const std::int32_t sum = line[column.upper - first_column] * (unit - column.part) +
                                     line[column.lower - first_column] * column.part;
            result.values.push_back(static_cast<float>(sum) / full);
        }
    }
    return result;
}

}  // namespace hcflow
