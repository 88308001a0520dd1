// The latents against known answers.
#include <doctest/doctest.h>

#include <array>
#include <cstring>
#include <fstream>
#include <regex>
#include <vector>

#include "bundle_folder.hpp"
#include "latents.hpp"

using Words = std::array<std::uint32_t, 4>;

TEST_CASE("Philox gives the known answers of Random123") {
    CHECK(hcflow::philox4x32({0, 0, 0, 0}, 0) ==
          Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
    CHECK(hcflow::philox4x32({~0U, ~0U, ~0U, ~0U}, ~std::uint64_t{0}) ==
          Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
    CHECK(
        hcflow::philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0x299f31d0a4093822U) ==
        Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("normals are those of the table in docs/latents.md, to the bit") {
    std::ifstream document(HCFLOW_LATENTS_TABLE);
    const std::regex row(
        R"(\| (\d+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \| -?[\d.]+ \| `([0-9a-f]{8})` \|)");
    int rows = 0;
    for (std::string line; std::getline(document, line);) {
        std::smatch found;
        if (!std::regex_match(line, found, row)) continue;
        const auto at = [&](std::size_t i) { return std::stoull(found[i].str()); };
        const std::size_t channel = at(4);
        const auto values = hcflow::draw_latent(
            at(1), static_cast<std::uint32_t>(at(2)), static_cast<std::uint32_t>(at(3)),
            channel + 1, {static_cast<std::int64_t>(at(5)), static_cast<std::int64_t>(at(6)), 1, 1},
            1.0);
        std::uint32_t bits = 0;
        std::memcpy(&bits, &values[channel], 4);
        CHECK(bits == static_cast<std::uint32_t>(std::stoul(found[7].str(), nullptr, 16)));
        ++rows;
    }
    CHECK(rows == 14);
}

TEST_CASE("a region is the crop of a larger one") {
    const auto whole = hcflow::draw_latent(5, 1, 2, 3, {0, 0, 20, 30}, 0.7);
    const auto region = hcflow::draw_latent(5, 1, 2, 3, {7, 5, 9, 11}, 0.7);
    for (std::size_t c = 0; c < 3; ++c)
        for (std::size_t y = 0; y < 9; ++y)
            for (std::size_t x = 0; x < 11; ++x)
                REQUIRE(region[(c * 9 + y) * 11 + x] == whole[(c * 20 + y + 7) * 30 + x + 5]);
}

TEST_CASE("a border's coordinates are those modulo 2^32, and leave the image's as they are") {
    const auto image = hcflow::draw_latent(5, 1, 2, 3, {0, 0, 6, 7}, 0.7);
    const auto padded = hcflow::draw_latent(5, 1, 2, 3, {-2, -5, 8, 12}, 0.7);
    for (std::size_t c = 0; c < 3; ++c)
        for (std::size_t y = 0; y < 6; ++y)
            for (std::size_t x = 0; x < 7; ++x)
                REQUIRE(padded[(c * 8 + y + 2) * 12 + x + 5] == image[(c * 6 + y) * 7 + x]);
    constexpr std::int64_t kEnd = std::int64_t{1} << 32;
    const auto corner = hcflow::draw_latent(5, 1, 2, 1, {kEnd - 2, kEnd - 5, 2, 5}, 0.7);
    for (std::size_t y = 0; y < 2; ++y)
        for (std::size_t x = 0; x < 5; ++x) REQUIRE(padded[y * 12 + x] == corner[y * 5 + x]);
}

TEST_CASE("coordinates out of range and an invalid tau are refused") {
    CHECK(tests::has(tests::error_of([] {
                         hcflow::draw_latent(0, 0, 1, 1, {std::int64_t{1} << 32, 0, 1, 1}, 1);
                     }),
                     "1: row 4294967296"));
    CHECK(tests::has(tests::error_of([] {
                         hcflow::draw_latent(0, 0, 1, 1, {0, 0, 1, 1}, -1);
                     }),
                     "tau is -1"));
    CHECK(tests::has(tests::error_of([] { hcflow::check_tau(std::stod("nan")); }), "tau is nan"));
    CHECK(
        tests::has(tests::error_of([] { hcflow::check_tau(1.1e6); }), "it must be 1e+06 or less"));
    CHECK(tests::error_of([] { hcflow::check_tau(1e6); }) == "nothing");
}
