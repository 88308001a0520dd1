// The tiles of an axis.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "tiling/grid.hpp"

namespace {

/// A place that no border has moved before 0.
std::size_t place(std::int64_t at) {
    REQUIRE(at >= 0);
    return static_cast<std::size_t>(at);
}

}  // namespace

TEST_CASE("cores partition an axis, and every window has one size and holds its core") {
    for (std::size_t length = 1; length <= 40; ++length)
        for (std::size_t tile = 1; tile <= 12; ++tile)
            for (std::size_t overlap = 0; overlap <= 6; ++overlap) {
                const auto all = hcflow::spans(length, tile, overlap);
                const std::size_t window = all.front().window();
                REQUIRE(window <= std::min(length, tile + 2 * overlap));
                std::size_t next = 0;
                for (const hcflow::Span& span : all) {
                    REQUIRE(span.start == next);
                    REQUIRE(span.window() == window);
                    const std::size_t from = place(span.window_start), to = place(span.window_stop);
                    REQUIRE(from <= span.start);
                    REQUIRE(span.stop <= to);
                    REQUIRE(to <= length);
                    REQUIRE((from == 0 || span.start == from + overlap));
                    REQUIRE((to == length || to >= span.stop + overlap));
                    next = span.stop;
                }
                REQUIRE(next == length);
                if (length <= tile + 2 * overlap) REQUIRE(all.size() == 1);
            }
    // The worked example of docs/tiles.md.
    std::vector<std::array<std::size_t, 4>> found;
    for (const hcflow::Span& s : hcflow::spans(100, 40, 8))
        found.push_back({s.start, s.stop, place(s.window_start), place(s.window_stop)});
    CHECK(found == std::vector<std::array<std::size_t, 4>>{
                       {0, 36, 0, 44}, {36, 64, 28, 72}, {64, 100, 56, 100}});
    CHECK(hcflow::spans(10, SIZE_MAX, SIZE_MAX).size() == 1);
    CHECK(hcflow::spans(10, 1, SIZE_MAX).size() == 1);
}

TEST_CASE("with a border cores partition the image, and windows lie in the padded image") {
    for (std::size_t border = 1; border <= 9; border += 4)
        for (std::size_t length = 1; length <= 40; ++length)
            for (std::size_t tile = 1; tile <= 12; ++tile)
                for (std::size_t overlap = 0; overlap <= 6; ++overlap) {
                    const auto all = hcflow::spans(length, tile, overlap, border);
                    const std::size_t window = all.front().window();
                    REQUIRE(window <= std::min(length + 2 * border, tile + 2 * overlap));
                    std::size_t next = 0;
                    for (const hcflow::Span& span : all) {
                        // In the padded image, where the border is before the image.
                        const std::size_t from =
                            place(span.window_start + static_cast<std::int64_t>(border));
                        const std::size_t to = from + window;
                        REQUIRE(span.start == next);
                        REQUIRE(span.start < span.stop);
                        REQUIRE(span.window() == window);
                        REQUIRE(span.offset() == span.start + border - from);
                        REQUIRE(to <= length + 2 * border);
                        REQUIRE(span.offset() >= std::min(overlap, span.start + border));
                        REQUIRE(to >= std::min(span.stop + overlap + border, length + 2 * border));
                        next = span.stop;
                    }
                    REQUIRE(next == length);
                }
}
