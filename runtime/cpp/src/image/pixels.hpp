// Converts the caller's pixels to planes of float32 in [0, 1] and back, as
// runtime/images/pixels/arrays.py does.
#pragma once

#include <cstddef>
#include <vector>

#include "core/tensor.hpp"
#include "hcflow/hcflow.hpp"
#include "image/resample.hpp"

namespace hcflow {

inline constexpr std::size_t kMostSide = std::size_t{1} << 31U;

/// The same view with its stride filled in. Throws Error (image): null, no pixels, wrong channels
/// or type, a stride smaller than a row, or, if `read`, float pixels far outside [0, 1].
ConstView checked(ConstView view, const char* what, bool read);

/// Throws Error (parameter) unless a view has this size and number of channels.
void check_result(const View& result, Size size, int channels);

/// The pixels at these rows and columns of a checked view, as planes [3, rows, columns] in [0, 1];
/// a gray image gives three equal planes.
std::vector<float> read_colour(const ConstView& view, const std::vector<std::size_t>& rows,
                               const std::vector<std::size_t>& columns);

bool has_alpha(const ConstView& view);

/// The alpha plane at these rows and columns.
Plane read_alpha(const ConstView& view, const std::vector<std::size_t>& rows,
                 const std::vector<std::size_t>& columns);

/// A part of three planes: pixel (y, x) of plane c is at[c·plane + y·row + x].
struct Colour {
    const float* at;
    std::size_t plane;
    std::size_t row;
};

/// The part of an image [1, 3, height, width] that begins at (top, left).
Colour colour_at(const Tensor& image, std::size_t top, std::size_t left);

/// What goes with the colours of the pixels that are written; null: nothing.
struct Beside {
    const Plane* alpha;  ///< null if the view has no alpha
    const Plane* kept;   ///< the part of its colour that a pixel keeps; the rest is its luma
};

/// Writes height × width pixels to (top, left) of a view. Values are clipped, integers rounded to
/// nearest, half to even; gray is the luma of the clipped colours.
void write_pixels(const View& view, std::size_t top, std::size_t left, std::size_t height,
                  std::size_t width, const Colour& colour, const Beside& beside);

}  // namespace hcflow
