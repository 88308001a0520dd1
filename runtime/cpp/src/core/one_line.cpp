#include "core/one_line.hpp"

#include <array>
#include <cstdint>
#include <cstdio>

namespace hcflow {
namespace {

struct Character {
    std::size_t bytes;  // 0: not UTF-8
    std::uint32_t code;
};

/// The character that begins at a byte of the text.
Character character(const std::string& text, std::size_t at) {
    constexpr std::array<std::uint32_t, 5> kLeast = {0, 0, 0x80, 0x800, 0x10000};  // by bytes
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const std::uint32_t lead = byte(at);
    if (lead < 0x80) return {1, lead};
    const std::size_t bytes = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    if (lead < 0xC0 || lead >= 0xF8 || bytes > text.size() - at) return {0, lead};
    std::uint32_t code = lead & (0x7FU >> bytes);
    for (std::size_t i = at + 1; i < at + bytes; ++i) {
        if ((byte(i) & 0xC0U) != 0x80) return {0, lead};
        code = code << 6U | (byte(i) & 0x3FU);
    }
    const bool valid =
        code >= kLeast.at(bytes) && code <= 0x10FFFF && (code < 0xD800 || code > 0xDFFF);
    return valid ? Character{bytes, code} : Character{0, lead};
}

/// Whether a terminal may do something else with a character than show it.
bool is_hidden(std::uint32_t code) {
    return code < 0x20 || (code >= 0x7F && code < 0xA0) || code == 0xFEFF ||
           (code >= 0x200B && code <= 0x200F) || (code >= 0x2028 && code <= 0x202E) ||
           (code >= 0x2060 && code <= 0x2069);
}

std::string escape(const char* format, std::uint32_t code) {
    std::array<char, 16> text{};
    (void)std::snprintf(text.data(), text.size(), format, code);
    return text.data();
}

}  // namespace

std::string one_line(const std::string& text) {
    std::string line;
    for (std::size_t at = 0; at < text.size();) {
        const auto [bytes, code] = character(text, at);
        const std::size_t next = at + (bytes == 0 ? 1 : bytes);
        if (code == '\n' || code == '\r' || code == '\t') {
            if (!line.empty() && line.back() != ' ') line += ' ';
        } else if (bytes == 0 || (is_hidden(code) && code < 0x80)) {
            line += escape("\\x%02x", code);
        } else if (is_hidden(code)) {
            line += escape("\\u%04x", code);
        } else {
            line.append(text, at, next - at);
        }
        at = next;
    }
    while (!line.empty() && line.back() == ' ') line.pop_back();
    return line;
}

}  // namespace hcflow
