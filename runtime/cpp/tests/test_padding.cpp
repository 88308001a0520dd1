// Padding by reflection.
#include <doctest/doctest.h>

#include <vector>

#include "image/padding.hpp"

TEST_CASE("padding reflects as numpy.pad does") {
    using Places = std::vector<std::size_t>;
    CHECK(hcflow::reflected_indices(0, 8, 5) == Places{0, 1, 2, 3, 4, 3, 2, 1});
    CHECK(hcflow::reflected_indices(0, 4, 2) == Places{0, 1, 0, 1});
    CHECK(hcflow::reflected_indices(0, 4, 1) == Places{0, 0, 0, 0});
    CHECK(hcflow::reflected_indices(6, 8, 5) == Places{2, 1});
}

TEST_CASE("a border mirrors the padded axis, its outermost pixel repeated") {
    using Places = std::vector<std::size_t>;
    CHECK(hcflow::source_indices(-3, 5, 3) == Places{2, 1, 0, 0, 1, 2, 2, 1});
    CHECK(hcflow::source_indices(-2, 10, 6, 4) == Places{1, 0, 0, 1, 2, 3, 4, 5, 4, 3, 3, 4});
    CHECK(hcflow::source_indices(-4, 6, 1) == Places(10, 0));
    CHECK(hcflow::source_indices(-5, 0, 2) == Places{0, 0, 1, 1, 0});
}
