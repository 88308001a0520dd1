// SHA-256 against known answers, with and without the processor's instructions.
#include <doctest/doctest.h>

#include <string>

#include "core/sha256.hpp"

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
