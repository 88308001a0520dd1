// Compiled with -ffp-contract=off, so that every operation is rounded as in NumPy.
#include "image/colour_spread.hpp"

#include <algorithm>
#include <array>
#include <numeric>

#include "image/pixels.hpp"

namespace hcflow {
namespace {

constexpr std::size_t kLevels = 5;                         // above the pixels: of 2×2 blocks
constexpr std::size_t kBlock = std::size_t{1} << kLevels;  // side of the coarsest level's blocks
constexpr std::size_t kReach = 2 * kBlock;  // that colour comes from, each way beyond a block
constexpr std::size_t kSide = 4 * kReach;   // of the squares that are spread at a time
constexpr float kFull = 16.0F;   // a pixel of alpha 1/16 is visible enough to keep its colour
constexpr float kTiny = 1e-12F;  // in place of 0 as a divisor; below any alpha of 16 bits
constexpr float kFar = 0.5F;     // the colour beyond the reach of any visible pixel

using Colours = std::array<Plane, 3>;

struct PyramidLevel {
    Colours weighted;  // alpha · colour
    Plane alpha;       // its mean
    Plane seen;        // a sum of alpha that saturates
};

/// A rectangle of pixels.
struct Box {
    std::size_t top, left, bottom, right;
};

template <typename Function>
Plane map(const Plane& first, const Plane& second, const Function& function) {
    Plane result{first.height, first.width, std::vector<float>(first.values.size())};
    for (std::size_t i = 0; i < result.values.size(); ++i)
        result.values[i] = function(first.values[i], second.values[i]);
    return result;
}

/// `function` of the sum of every 2×2 block.
template <typename Function>
Plane of_sums(const Plane& plane, const Function& function) {
    const std::size_t height = plane.height / 2, width = plane.width / 2;
    Plane result{height, width, std::vector<float>(height * width)};
    for (std::size_t y = 0; y < height; ++y) {
        const float* above = plane.values.data() + 2 * y * plane.width;
        const float* below = above + plane.width;
        float* out = result.values.data() + y * width;
        for (std::size_t x = 0; x < width; ++x)
            out[x] =
                function((above[2 * x] + above[2 * x + 1]) + (below[2 * x] + below[2 * x + 1]));
    }
    return result;
}

/// Twice the size, linear between the centres of pixels; the outermost pixels go on.
Plane enlarged(const Plane& plane) {
    const std::size_t height = plane.height, width = plane.width;
    Plane result{2 * height, 2 * width, std::vector<float>(4 * height * width)};
    std::vector<float> line(width);
    const float* values = plane.values.data();
    for (std::size_t row = 0; row < 2 * height; ++row) {
        const float* near = values + row / 2 * width;
        const bool outermost = row == 0 || row == 2 * height - 1;
        const float* far = outermost ? near : row % 2 == 0 ? near - width : near + width;
        for (std::size_t x = 0; x < width; ++x)
            line[x] = outermost ? near[x] : near[x] * 0.75F + far[x] * 0.25F;
        float* out = result.values.data() + row * 2 * width;
        out[0] = line[0];
        for (std::size_t x = 1; x < width; ++x) {
            out[2 * x - 1] = line[x - 1] * 0.75F + line[x] * 0.25F;
            out[2 * x] = line[x] * 0.75F + line[x - 1] * 0.25F;
        }
        out[2 * width - 1] = line[width - 1];
    }
    return result;
}

/// The sum of every pixel and the eight around it; 0 lies beyond.
Plane sums_of_nine(const Plane& plane) {
    const std::size_t height = plane.height, width = plane.width;
    Plane result{height, width, std::vector<float>(height * width)};
    const std::vector<float> zeros(width);
    std::vector<float> columns(width + 2);  // of three rows, with 0 at both ends
    for (std::size_t y = 0; y < height; ++y) {
        const float* row = plane.values.data() + y * width;
        const float* above = y > 0 ? row - width : zeros.data();
        const float* below = y + 1 < height ? row + width : zeros.data();
        for (std::size_t x = 0; x < width; ++x) columns[x + 1] = (above[x] + row[x]) + below[x];
        for (std::size_t x = 0; x < width; ++x)
            result.values[y * width + x] = (columns[x] + columns[x + 1]) + columns[x + 2];
    }
    return result;
}

/// The mean colour of a level's pixel.
float mean_colour(float weighted, float alpha) { return weighted / std::max(alpha, kTiny); }

float mixed(float keep, float own, float other) { return keep * own + (1.0F - keep) * other; }

/// The colours of the coarsest level.
Colours coarsest_colours(const PyramidLevel& coarsest) {
    const Plane around = sums_of_nine(coarsest.seen);
    Colours result;
    for (std::size_t c = 0; c < 3; ++c) {
        const Plane own = map(coarsest.weighted.at(c), coarsest.alpha, mean_colour);
        const auto product = [](float one, float two) { return one * two; };
        // An invisible block has the colours of the eight around it; gray begins a block away.
        Plane beside =
            map(sums_of_nine(map(coarsest.seen, own, product)), around, [](float sum, float seen) {
                return mixed(std::min(seen, 1.0F), mean_colour(sum, seen), kFar);
            });
        for (std::size_t i = 0; i < own.values.size(); ++i)
            beside.values[i] = mixed(coarsest.seen.values[i], own.values[i], beside.values[i]);
        result.at(c) = std::move(beside);
    }
    return result;
}

/// Replaces the colours of a picture whose sides are multiples of kBlock. Its outermost kReach
/// pixels come out wrong unless what lies beyond them is invisible.
void spread(Colours& colours, const Plane& alpha) {
    std::vector<PyramidLevel> levels(1);
    for (std::size_t c = 0; c < 3; ++c)
        levels[0].weighted.at(c) =
            map(colours.at(c), alpha, [](float colour, float a) { return colour * a; });
    levels[0].alpha = alpha;
    levels[0].seen = map(alpha, alpha, [](float a, float) { return std::min(a * kFull, 1.0F); });
    const auto quarter = [](float sum) { return sum * 0.25F; };
    for (std::size_t i = 0; i < kLevels; ++i) {
        const PyramidLevel& below = levels.back();
        PyramidLevel next;
        for (std::size_t c = 0; c < 3; ++c)
            next.weighted.at(c) = of_sums(below.weighted.at(c), quarter);
        next.alpha = of_sums(below.alpha, quarter);
        next.seen = of_sums(below.seen, [](float sum) { return std::min(sum, 1.0F); });
        levels.push_back(std::move(next));
    }
    Colours result = coarsest_colours(levels.back());
    while (levels.size() > 1) {
        const Plane coarse = enlarged(levels.back().alpha);
        levels.pop_back();
        PyramidLevel& level = levels.back();
        // Nothing below a quarter of the alpha around it counts; all does from three quarters on.
        Plane keep = map(level.alpha, coarse, [](float a, float around) {
            around = std::max(around, kTiny);
            return (a * 2.0F - around * 0.5F) / around;
        });
        keep = map(keep, level.seen, [](float relative, float seen) {
            return std::clamp(std::min(relative, seen), 0.0F, 1.0F);
        });
        for (std::size_t c = 0; c < 3; ++c) {
            const Plane own = levels.size() == 1
                                  ? std::move(colours.at(c))
                                  : map(level.weighted.at(c), level.alpha, mean_colour);
            result.at(c) = enlarged(result.at(c));
            for (std::size_t i = 0; i < own.values.size(); ++i)
                result.at(c).values[i] =
                    mixed(keep.values[i], own.values[i], result.at(c).values[i]);
        }
    }
    colours = std::move(result);
}

std::vector<std::size_t> range(std::size_t start, std::size_t stop) {
    std::vector<std::size_t> places(stop - start);
    std::iota(places.begin(), places.end(), start);
    return places;
}

std::size_t rounded_up(std::size_t value) { return (value + kBlock - 1) / kBlock * kBlock; }

/// The colours of a square that begins at multiples of kBlock, spread.
Colours spread_square(const ConstView& view, const Box& square) {
    // The square and kReach pixels around it; what lies outside the image is invisible.
    const Box inside{
        square.top - std::min(square.top, kReach), square.left - std::min(square.left, kReach),
        std::min(square.bottom + kReach, view.height), std::min(square.right + kReach, view.width)};
    const std::vector<std::size_t> rows = range(inside.top, inside.bottom),
                                   columns = range(inside.left, inside.right);
    const std::vector<float> colour = read_colour(view, rows, columns);
    const Plane seen = read_alpha(view, rows, columns);
    const std::size_t height = rounded_up(square.bottom - square.top) + 2 * kReach,
                      width = rounded_up(square.right - square.left) + 2 * kReach;
    const std::size_t top = inside.top + kReach - square.top,
                      left = inside.left + kReach - square.left;
    const auto placed = [&](const float* from) {
        Plane plane{height, width, std::vector<float>(height * width)};
        for (std::size_t y = 0; y < rows.size(); ++y)
            std::copy_n(from + y * columns.size(), columns.size(),
                        plane.values.data() + (top + y) * width + left);
        return plane;
    };
    Colours colours;
    for (std::size_t c = 0; c < 3; ++c)
        colours.at(c) = placed(colour.data() + c * rows.size() * columns.size());
    spread(colours, placed(seen.values.data()));
    return colours;
}

bool is_opaque(const ConstView& view, const Box& box) {
    const Plane alpha = read_alpha(view, range(box.top, box.bottom), range(box.left, box.right));
    return std::all_of(alpha.values.begin(), alpha.values.end(), [](float a) { return a >= 1; });
}

/// Copies the pixels of a square to those places of `planes` whose rows and columns lie in it.
void place(const Colours& colours, const Box& square, const std::vector<std::size_t>& rows,
           const std::vector<std::size_t>& columns, std::vector<float>& planes) {
    for (std::size_t c = 0; c < 3; ++c)
        for (std::size_t y = 0; y < rows.size(); ++y) {
            if (rows[y] < square.top || rows[y] >= square.bottom) continue;
            const float* from = colours.at(c).values.data() +
                                (rows[y] - square.top + kReach) * colours.at(c).width + kReach;
            float* to = planes.data() + (c * rows.size() + y) * columns.size();
            for (std::size_t x = 0; x < columns.size(); ++x)
                if (columns[x] >= square.left && columns[x] < square.right)
                    to[x] = from[columns[x] - square.left];
        }
}

}  // namespace

std::vector<float> read_visible_colour(const ConstView& view, const std::vector<std::size_t>& rows,
                                       const std::vector<std::size_t>& columns) {
    std::vector<float> planes = read_colour(view, rows, columns);
    if (!has_alpha(view) || rows.empty() || columns.empty()) return planes;
    const auto [top, bottom] = std::minmax_element(rows.begin(), rows.end());
    const auto [left, right] = std::minmax_element(columns.begin(), columns.end());
    for (std::size_t y = *top / kBlock * kBlock; y <= *bottom; y += kSide)
        for (std::size_t x = *left / kBlock * kBlock; x <= *right; x += kSide) {
            const Box square{y, x, std::min({y + kSide, rounded_up(*bottom + 1), view.height}),
                             std::min({x + kSide, rounded_up(*right + 1), view.width})};
            if (!is_opaque(view, square))  // then nothing changes
                place(spread_square(view, square), square, rows, columns, planes);
        }
    return planes;
}

}  // namespace hcflow
