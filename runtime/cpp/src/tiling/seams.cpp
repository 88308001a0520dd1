#include "tiling/seams.hpp"

#include <algorithm>
#include <cmath>

namespace hcflow {
namespace {

const float* row_of(const Tensor& image, std::size_t colour, std::size_t y) {
    return image.values.get() + (colour * image.shape[2] + y) * image.shape[3];
}

}  // namespace

Seams::Seams(const Grid& grid, std::size_t factor, Report* report)
    : factor_(factor), report_(report), below_(grid.columns.size()) {}

void Seams::add(const Tile& tile, const Tensor& image) {
    if (report_ == nullptr) return;
    const std::size_t top = factor_ * tile.y.offset();
    const std::size_t left = factor_ * tile.x.offset();
    const std::size_t bottom = top + factor_ * (tile.y.stop - tile.y.start);
    const std::size_t right = left + factor_ * (tile.x.stop - tile.x.start);
    Strip& below = below_[tile.column];
    if (tile.column > 0) compare(right_, image, top, left);
    if (tile.row > 0) compare(below, image, top, left);
    right_ = strip(image, top, right, bottom - top, factor_);
    below = strip(image, bottom, left, factor_, right - left);
}

Seams::Strip Seams::strip(const Tensor& image, std::size_t top, std::size_t left,
                          std::size_t height, std::size_t width) {
    Strip cut{std::min(height, image.shape[2] - top), std::min(width, image.shape[3] - left), {}};
    cut.values.reserve(3 * cut.height * cut.width);
    for (std::size_t c = 0; c < 3; ++c)
        for (std::size_t y = 0; y < cut.height; ++y) {
            const float* row = row_of(image, c, top + y) + left;
            cut.values.insert(cut.values.end(), row, row + cut.width);
        }
    return cut;
}

void Seams::compare(const Strip& expected, const Tensor& image, std::size_t top, std::size_t left) {
    if (expected.values.empty()) return;
    float worst = 0;
    const float* neighbour = expected.values.data();
    for (std::size_t c = 0; c < 3; ++c)
        for (std::size_t y = 0; y < expected.height; ++y) {
            const float* found = row_of(image, c, top + y) + left;
            for (std::size_t x = 0; x < expected.width; ++x)
                worst = std::max(worst, std::abs(std::clamp(*neighbour++, 0.0F, 1.0F) -
                                                 std::clamp(found[x], 0.0F, 1.0F)));
        }
    report_->disagreement = std::max(report_->disagreement.value_or(0), worst);
}

}  // namespace hcflow
