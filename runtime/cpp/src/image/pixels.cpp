// Compiled with -ffp-contract=off, so that luma is rounded as in NumPy.
#include "image/pixels.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "core/error.hpp"

namespace hcflow {
namespace {

constexpr float kMostOvershoot = 0.5F;  // float pixels may be in [-0.5, 1.5]

std::size_t bytes(Pixel type) { return static_cast<std::size_t>(type); }

float clip(float value) { return value < 0.0F ? 0.0F : (value > 1.0F ? 1.0F : value); }

/// Rounds 0 … 2^22 to nearest, half to even: adding 1.5·2²³ leaves no bits for a fraction.
float round_even(float value) { return (value + 12582912.0F) - 12582912.0F; }

// With memcpy, as the caller's pixels need not be aligned.
float load(const unsigned char* at, Pixel type) {
    if (type == Pixel::u8) return static_cast<float>(*at) / 255.0F;
    if (type == Pixel::u16) {
        std::uint16_t value = 0;
        std::memcpy(&value, at, sizeof value);
        return static_cast<float>(value) / 65535.0F;
    }
    float value = 0;
    std::memcpy(&value, at, sizeof value);
    return clip(value);
}

void store(unsigned char* at, Pixel type, float unit) {
    unit = clip(unit);
    if (type == Pixel::u8) {
        *at = static_cast<unsigned char>(round_even(unit * 255.0F));
    } else if (type == Pixel::u16) {
        const auto value = static_cast<std::uint16_t>(round_even(unit * 65535.0F));
        std::memcpy(at, &value, sizeof value);
    } else {
        std::memcpy(at, &unit, sizeof unit);
    }
}

const unsigned char* pixel(const ConstView& view, std::size_t y, std::size_t x) {
    return static_cast<const unsigned char*>(view.data) + y * view.stride +
           x * static_cast<std::size_t>(view.channels) * bytes(view.type);
}

/// Bytes from the start of a pixel to red, green or blue; 0 for gray.
std::size_t channel_offset(const ConstView& view, std::size_t colour) {
    return view.channels < 3 ? 0 : colour * bytes(view.type);
}

void check_floats(const ConstView& view, const char* what) {
    float lowest = std::numeric_limits<float>::infinity(), highest = -lowest;
    bool number = true;
    for (std::size_t y = 0; y < view.height; ++y) {
        const unsigned char* at = pixel(view, y, 0);
        for (std::size_t i = 0; i < view.width * static_cast<std::size_t>(view.channels); ++i) {
            float value = 0;
            std::memcpy(&value, at + i * sizeof value, sizeof value);
            number = number && !std::isnan(value);
            lowest = std::min(lowest, value);
            highest = std::max(highest, value);
        }
    }
    if (!number) throw_error(ErrorCode::image, what, " has NaN among its pixels");
    if (lowest < -kMostOvershoot || highest > 1 + kMostOvershoot)
        throw_error(ErrorCode::image, what, " has float pixels from ", lowest, " to ", highest,
                    ": they must be numbers in [0, 1] (divide 8-bit values by 255)");
}

}  // namespace

ConstView checked(ConstView view, const char* what, bool read) {
    if (view.data == nullptr) throw_error(ErrorCode::image, what, " is null: give its pixels");
    if (view.width == 0 || view.height == 0)
        throw_error(ErrorCode::image, what, " is ", view.width, "x", view.height,
                    ": it has no pixels");
    if (view.width > kMostSide || view.height > kMostSide)
        throw_error(ErrorCode::image, what, " is ", view.width, "x", view.height,
                    ": a side has at most 2^31 pixels");
    if (view.channels < 1 || view.channels > 4)
        throw_error(ErrorCode::image, what, " has ", view.channels,
                    " channels: it must have 1 to 4");
    if (view.type != Pixel::u8 && view.type != Pixel::u16 && view.type != Pixel::f32)
        throw_error(ErrorCode::image, what, " has pixels of type ", static_cast<int>(view.type),
                    ": they must be u8 (1), u16 (2) or f32 (4)");
    const std::size_t row = view.width * static_cast<std::size_t>(view.channels) * bytes(view.type);
    if (view.stride == 0) view.stride = row;
    if (view.stride < row)
        throw_error(ErrorCode::image, what, " has a stride of ", view.stride,
                    " bytes, but a row has ", row, ": give the bytes from row to row");
    if (view.stride > std::numeric_limits<std::size_t>::max() / 2 / view.height)
        throw_error(ErrorCode::image, what, " has a stride of ", view.stride,
                    " bytes: that does not fit into memory");
    if (read && view.type == Pixel::f32) check_floats(view, what);
    return view;
}

void check_result(const View& result, Size size, int channels) {
    if (result.width != size.width || result.height != size.height || result.channels != channels)
        throw_error(ErrorCode::parameter, "result is ", result.width, "x", result.height, " with ",
                    result.channels, " channels: it must be ", size.width, "x", size.height,
                    " with ", channels);
}

std::vector<float> read_colour(const ConstView& view, const std::vector<std::size_t>& rows,
                               const std::vector<std::size_t>& columns) {
    const std::size_t plane = rows.size() * columns.size();
    std::vector<float> planes(3 * plane);
    float* at = planes.data();
    for (const std::size_t y : rows)
        for (const std::size_t x : columns) {
            const unsigned char* in = pixel(view, y, x);
            for (std::size_t c = 0; c < 3; ++c)
                at[c * plane] = load(in + channel_offset(view, c), view.type);
            ++at;
        }
    return planes;
}

bool has_alpha(const ConstView& view) { return view.channels % 2 == 0; }

Plane read_alpha(const ConstView& view, const std::vector<std::size_t>& rows,
                 const std::vector<std::size_t>& columns) {
    const std::size_t last = static_cast<std::size_t>(view.channels - 1) * bytes(view.type);
    Plane plane{rows.size(), columns.size(), {}};
    plane.values.reserve(rows.size() * columns.size());
    for (const std::size_t y : rows)
        for (const std::size_t x : columns)
            plane.values.push_back(load(pixel(view, y, x) + last, view.type));
    return plane;
}

Colour colour_at(const Tensor& image, std::size_t top, std::size_t left) {
    const std::size_t height = image.shape[2], width = image.shape[3];
    return {image.values.get() + top * width + left, height * width, width};
}

void write_pixels(const View& view, std::size_t top, std::size_t left, std::size_t height,
                  std::size_t width, const Colour& colour, const Beside& beside) {
    const std::size_t size = bytes(view.type);
    for (std::size_t y = 0; y < height; ++y) {
        const float* in = colour.at + y * colour.row;
        auto* out = static_cast<unsigned char*>(view.data) + (top + y) * view.stride +
                    left * static_cast<std::size_t>(view.channels) * size;
        for (std::size_t x = 0; x < width; ++x, ++in) {
            const float red = clip(in[0]), green = clip(in[colour.plane]),
                        blue = clip(in[2 * colour.plane]);
            const float luma = red * 0.299F + green * 0.587F + blue * 0.114F;  // BT.601
            if (view.channels < 3) {
                store(out, view.type, luma);
                out += size;
            } else {
                const float keep = beside.kept != nullptr ? beside.kept->values[y * width + x] : 1;
                const float rest = (1.0F - keep) * luma;
                for (const float value : {red, green, blue}) {
                    store(out, view.type, value * keep + rest);
                    out += size;
                }
            }
            if (beside.alpha != nullptr) {
                store(out, view.type, beside.alpha->values[y * width + x]);
                out += size;
            }
        }
    }
}

}  // namespace hcflow
