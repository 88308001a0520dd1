// Text of others cannot control a terminal.
#include <doctest/doctest.h>

#include "bundle_folder.hpp"
#include "core/error.hpp"
#include "core/one_line.hpp"

using hcflow::one_line;

TEST_CASE("text that shows as it is stays as it is") {
    for (const char* text : {"", "rescale_x4", "4000×3000, τ = 0.5", "écran", "写真.png", "🖼"})
        CHECK(one_line(text) == text);
}

TEST_CASE("new lines become spaces and control characters escapes") {
    CHECK(one_line("one\n\ttwo\r\nthree\n") == "one two three");
    CHECK(one_line("\x1b[2Jgone\x07") == "\\x1b[2Jgone\\x07");
    CHECK(one_line(std::string("a\0b", 3)) == "a\\x00b");
    CHECK(one_line("\xC2\x9B"
                   "31m") == "\\u009b31m");
    CHECK(one_line("gnp.\u202Eexe") == "gnp.\\u202eexe");
    CHECK(one_line("\u2028\u200B") == "\\u2028\\u200b");
}

TEST_CASE("bytes that are not UTF-8 become escapes") {
    CHECK(one_line("\x9B"
                   "31m") == "\\x9b31m");
    CHECK(one_line("caf\xE9") == "caf\\xe9");
    CHECK(one_line("\xC0\x9B") == "\\xc0\\x9b");                    // a longer form than needed
    CHECK(one_line("\xED\xA0\x80") == "\\xed\\xa0\\x80");           // half a pair
    CHECK(one_line("\xF4\x90\x80\x80") == "\\xf4\\x90\\x80\\x80");  // beyond Unicode
    CHECK(one_line("\xE2\x82") == "\\xe2\\x82");                    // cut
}

TEST_CASE("every error is on one line") {
    const auto open = [] { (void)hcflow::Model::load("no\x1b[31m\nwhere"); };
    CHECK(tests::error_of(open) ==
          "2: no bundle at 'no\\x1b[31m where': the folder does not exist");
}
