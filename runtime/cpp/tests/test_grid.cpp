// The tiles of an axis.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "tiling/grid.hpp"

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
                    REQUIRE(span.window_start <= span.start);
                    REQUIRE(span.stop <= span.window_stop);
                    REQUIRE(span.window_stop <= length);
                    REQUIRE((span.window_start == 0 || span.start == span.window_start + overlap));
                    REQUIRE(
                        (span.window_stop == length || span.window_stop >= span.stop + overlap));
                    next = span.stop;
                }
                REQUIRE(next == length);
                if (length <= tile + 2 * overlap) REQUIRE(all.size() == 1);
            }
    // The worked example of docs/tiles.md.
    std::vector<std::array<std::size_t, 4>> found;
    for (const hcflow::Span& s : hcflow::spans(100, 40, 8))
        found.push_back({s.start, s.stop, s.window_start, s.window_stop});
    CHECK(found == std::vector<std::array<std::size_t, 4>>{
                       {0, 36, 0, 44}, {36, 64, 28, 72}, {64, 100, 56, 100}});
    CHECK(hcflow::spans(10, SIZE_MAX, SIZE_MAX).size() == 1);
    CHECK(hcflow::spans(10, 1, SIZE_MAX).size() == 1);
}
