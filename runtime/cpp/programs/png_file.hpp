// PNG files in 8 bits, by libpng's simplified interface.
#pragma once

#include <png.h>

#include <stdexcept>
#include <string>

#include "hcflow/hcflow.hpp"

inline png_uint_32 png_format(int channels) {
    constexpr png_uint_32 formats[] = {PNG_FORMAT_GRAY, PNG_FORMAT_GA, PNG_FORMAT_RGB,
                                       PNG_FORMAT_RGBA};
    return formats[channels - 1];
}

inline hcflow::Image read_png(const std::string& path) {
    png_image png{};
    png.version = PNG_IMAGE_VERSION;
    if (png_image_begin_read_from_file(&png, path.c_str()) == 0)
        throw std::runtime_error("cannot read '" + path + "': " + png.message);
    const int channels = 1 + ((png.format & PNG_FORMAT_FLAG_ALPHA) != 0 ? 1 : 0) +
                         ((png.format & PNG_FORMAT_FLAG_COLOR) != 0 ? 2 : 0);
    png.format = png_format(channels);
    hcflow::Image image(png.width, png.height, channels, hcflow::Pixel::u8);
    if (png_image_finish_read(&png, nullptr, image.view().data, 0, nullptr) == 0)
        throw std::runtime_error("cannot read '" + path + "': " + png.message);
    return image;
}

inline void write_png(const std::string& path, const hcflow::Image& image) {
    png_image png{};
    png.version = PNG_IMAGE_VERSION;
    png.width = static_cast<png_uint_32>(image.width());
    png.height = static_cast<png_uint_32>(image.height());
    png.format = png_format(image.channels());
    if (png_image_write_to_file(&png, path.c_str(), 0, image.bytes().data(), 0, nullptr) == 0)
        throw std::runtime_error("cannot write '" + path + "': " + png.message);
}
