// Compiled with -ffp-contract=off, so that sums are rounded as in Pillow.
#include "image/resample.hpp"

#include <algorithm>
#include <cmath>

namespace hcflow {
namespace {

double weight(Filter filter, double x) {
    if (filter == Filter::box) return x > -0.5 && x <= 0.5 ? 1.0 : 0.0;
    constexpr double a = -0.5;
    x = std::abs(x);
    if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
    if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
    return 0.0;
}

std::size_t clamp_to(double x, std::size_t largest) {
    return x <= 0 ? 0 : std::min(static_cast<std::size_t>(x), largest);
}

}  // namespace

Resampling::Resampling(std::size_t input, std::size_t output, Filter filter) {
    const double scale = static_cast<double>(input) / static_cast<double>(output);
    const double spread = std::max(scale, 1.0);
    const double support = (filter == Filter::box ? 0.5 : 2.0) * spread;
    const double inverse = 1.0 / spread;
    taps_.reserve(output);
    for (std::size_t i = 0; i < output; ++i) {
        const double centre = (static_cast<double>(i) + 0.5) * scale;
        const std::size_t first = clamp_to(centre - support + 0.5, input);
        const std::size_t last = clamp_to(centre + support + 0.5, input);
        Taps taps{first, std::vector<double>(last - first)};
        double sum = 0.0;
        for (std::size_t j = 0; j < taps.weights.size(); ++j) {
            const double distance = static_cast<double>(j + first) - centre + 0.5;
            taps.weights[j] = weight(filter, distance * inverse);
            sum += taps.weights[j];
        }
        if (sum != 0.0)
            for (double& each : taps.weights) each /= sum;
        taps_.push_back(std::move(taps));
    }
}

Plane resample(const Plane& plane, const Resampling& vertical, const Resampling& horizontal,
               std::size_t top, std::size_t left, std::size_t height, std::size_t width) {
    std::size_t first = plane.height, last = 0;
    for (std::size_t y = top; y < top + height; ++y) {
        const auto& taps = vertical.at(y);
        first = std::min(first, taps.first);
        last = std::max(last, taps.first + taps.weights.size());
    }
    std::vector<float> across((last - first) * width);
    for (std::size_t y = first; y < last; ++y)
        for (std::size_t x = 0; x < width; ++x) {
            const auto& taps = horizontal.at(left + x);
            const float* in = plane.values.data() + y * plane.width + taps.first;
            double sum = 0.0;
            for (std::size_t j = 0; j < taps.weights.size(); ++j)
                sum += static_cast<double>(in[j]) * taps.weights[j];
            across[(y - first) * width + x] = static_cast<float>(sum);
        }
    Plane result{height, width, std::vector<float>(height * width)};
    for (std::size_t y = 0; y < height; ++y) {
        const auto& taps = vertical.at(top + y);
        for (std::size_t x = 0; x < width; ++x) {
            double sum = 0.0;
            for (std::size_t j = 0; j < taps.weights.size(); ++j)
                sum += static_cast<double>(across[(taps.first + j - first) * width + x]) *
                       taps.weights[j];
            result.values[y * width + x] = static_cast<float>(sum);
        }
    }
    return result;
}

}  // namespace hcflow
