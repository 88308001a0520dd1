// Latents, digests, tiles, padding: small functions against known answers.
#include <doctest/doctest.h>

#include <array>
#include <cstring>
#include <fstream>
#include <regex>
#include <vector>

#include "bundle_folder.hpp"
#include "core/sha256.hpp"
#include "image/padding.hpp"
#include "latents.hpp"
#include "tiling/grid.hpp"

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
        const auto values = hcflow::draw_latent(at(1), static_cast<std::uint32_t>(at(2)),
                                                static_cast<std::uint32_t>(at(3)), channel + 1,
                                                {at(5), at(6), 1, 1}, 1.0);
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

TEST_CASE("a latent beyond its coordinates, or a wrong tau, is refused") {
    CHECK(tests::has(tests::error_of([] {
                         hcflow::draw_latent(0, 0, 1, 1, {1ULL << 32, 0, 1, 1}, 1);
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

TEST_CASE("SHA-256 gives the known answers of FIPS 180-4") {
    const auto digest = [](const std::string& text) {
        return hcflow::sha256(text.data(), text.size());
    };
    CHECK(digest("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    CHECK(digest("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    CHECK(digest("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
          "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    CHECK(digest(std::string(1000000, 'a')) ==
          "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("SHA-256 gives the same with the processor's instructions and without") {
    std::string text;
    for (std::size_t size = 0; size < 300; ++size) {
        REQUIRE(hcflow::sha256(text.data(), size, true) ==
                hcflow::sha256(text.data(), size, false));
        text += static_cast<char>(37 * size + size / 7);
    }
}

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

TEST_CASE("padding reflects as numpy.pad does") {
    using Places = std::vector<std::size_t>;
    CHECK(hcflow::reflected_indices(0, 8, 5) == Places{0, 1, 2, 3, 4, 3, 2, 1});
    CHECK(hcflow::reflected_indices(0, 4, 2) == Places{0, 1, 0, 1});
    CHECK(hcflow::reflected_indices(0, 4, 1) == Places{0, 0, 0, 0});
    CHECK(hcflow::reflected_indices(6, 8, 5) == Places{2, 1});
}
