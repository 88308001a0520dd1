// The orientation of an image by its EXIF or else its XMP, and turning it upright.
#pragma once

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <cstring>
#include <string>

#include "hcflow/hcflow.hpp"

/// The orientation in EXIF; 0 if there is none.
inline std::size_t exif_orientation(std::string exif) {
    constexpr std::size_t kOrientation = 0x0112, kEntry = 12, kLong = 4;
    if (exif.compare(0, 6, std::string("Exif\0\0", 6)) == 0) exif.erase(0, 6);
    const bool little = exif.compare(0, 2, "II") == 0;
    const auto number = [&](std::size_t at, std::size_t bytes) {
        std::size_t value = 0;  // also if the data is truncated
        if (at > exif.size() || bytes > exif.size() - at) return value;
        for (std::size_t i = 0; i < bytes; ++i)
            value =
                256 * value + static_cast<unsigned char>(exif[at + (little ? bytes - 1 - i : i)]);
        return value;
    };
    const std::size_t directory = number(4, 4);
    for (std::size_t i = 0; i < number(directory, 2); ++i) {
        const std::size_t entry = directory + 2 + kEntry * i;
        if (number(entry, 2) == kOrientation)
            return std::max<std::size_t>(number(entry + 8, number(entry + 2, 2) == kLong ? 4 : 2),
                                         1);
    }
    return 0;
}

/// The EXIF in a PNG's text "Raw profile type exif": three lines, then hexadecimal digits.
inline std::string raw_profile(const std::string& text) {
    std::size_t at = 0;
    for (int line = 0; line < 3 && at != std::string::npos; ++line)
        at = text.find('\n', at + (line > 0));
    std::string digits, bytes;
    for (; at < text.size(); ++at)
        if (std::isxdigit(static_cast<unsigned char>(text[at])) != 0) digits += text[at];
    for (std::size_t i = 0; i + 1 < digits.size(); i += 2)
        bytes += static_cast<char>(std::stoi(digits.substr(i, 2), nullptr, 16));
    return bytes;
}

/// The orientation in an XMP packet, 1 to 8; 1 if there is none.
inline std::size_t xmp_orientation(const std::string& xmp) {
    const std::string key = "tiff:Orientation";
    for (std::size_t at = xmp.find(key); at != std::string::npos; at = xmp.find(key, at + 1)) {
        std::size_t digit = at + key.size();
        if (xmp.compare(digit, 1, ">") == 0)
            digit += 1;
        else if (xmp.compare(digit, 2, "=\"") == 0)
            digit += 2;
        else
            continue;
        if (digit < xmp.size() && xmp[digit] >= '1' && xmp[digit] <= '8')
            return static_cast<std::size_t>(xmp[digit] - '0');
    }
    return 1;
}

/// Turns an 8-bit image of this orientation upright; orientations other than 2 to 8 change nothing.
inline hcflow::Image upright(hcflow::Image image, std::size_t orientation) {
    if (orientation < 2 || orientation > 8) return image;
    const bool transposed = orientation >= 5;
    const bool from_right = orientation == 2 || orientation == 3 || orientation >= 7;
    const bool from_below =
        orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
    const std::size_t width = image.width(), height = image.height();
    const auto pixel = static_cast<std::size_t>(image.channels());
    hcflow::Image turned(transposed ? height : width, transposed ? width : height, image.channels(),
                         hcflow::Pixel::u8);
    auto* to = static_cast<unsigned char*>(turned.view().data);
    for (std::size_t y = 0; y < turned.height(); ++y)
        for (std::size_t x = 0; x < turned.width(); ++x, to += pixel) {
            const std::size_t column = transposed ? y : x, row = transposed ? x : y;
            const std::size_t source = (from_below ? height - 1 - row : row) * width +
                                       (from_right ? width - 1 - column : column);
            std::memcpy(to, image.bytes().data() + source * pixel, pixel);
        }
    return turned;
}
