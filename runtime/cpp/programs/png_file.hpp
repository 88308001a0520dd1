// Reads and writes PNG files of 8 bits, upright, with their colour profile and density. A file's
// gamma is not applied to its values.
#pragma once

#include <png.h>

#include <array>
#include <cerrno>
#include <csetjmp>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include "hcflow/hcflow.hpp"
#include "orientation.hpp"
#include "whole_file.hpp"

/// Pixels per metre across and down; 0: the file states none.
struct Density {
    std::uint32_t x = 0, y = 0;
};

/// An upright image, its colour profile (ICC), which may be empty, and its density.
struct Photo {
    hcflow::Image image;
    std::string profile;
    Density density;
};

/// libpng's reader or writer of one file.
class PngFile {
  public:
    PngFile(std::string path, bool read) : path_(std::move(path)), read_(read) {
        if (read)
            in_.reset(std::fopen(path_.c_str(), "rb"));
        else
            out_.emplace(path_);
        if (read && !in_) refuse(std::strerror(errno));
        const auto create = read ? png_create_read_struct : png_create_write_struct;
        png = create(PNG_LIBPNG_VER_STRING, message_.data(), jump, ignore);
        info = png != nullptr ? png_create_info_struct(png) : nullptr;
        if (info == nullptr) throw std::bad_alloc();
        png_set_benign_errors(png, 1);  // a damaged profile must not make the image unreadable
        png_init_io(png, read ? in_.get() : out_->stream());
    }
    PngFile(const PngFile&) = delete;
    PngFile& operator=(const PngFile&) = delete;
    ~PngFile() {
        if (read_)
            png_destroy_read_struct(&png, &info, nullptr);
        else
            png_destroy_write_struct(&png, &info);
    }

    /// Whether `action` succeeds. libpng reports errors with longjmp, which skips destructors, so
    /// `action` must not have any.
    template <typename Action>
    bool tries(const Action& action) {
        if (setjmp(png_jmpbuf(png)) != 0)  // NOLINT(cert-err52-cpp): libpng's only way
            return false;
        action();
        return true;
    }
    template <typename Action>
    void run(const Action& action) {
        if (!tries(action)) refuse(message_.data());
    }

    /// What libpng has said last.
    [[nodiscard]] const char* message() const { return message_.data(); }

    /// Completes a written file and moves it into place.
    void commit() { out_->commit(); }

    [[noreturn]] void refuse(const std::string& why) const {
        throw std::runtime_error((read_ ? "cannot read '" : "cannot write '") + path_ +
                                 "': " + why);
    }

    png_structp png = nullptr;
    png_infop info = nullptr;

  private:
    using Message = std::array<char, 200>;
    struct Close {
        void operator()(std::FILE* file) const { std::fclose(file); }
    };

    [[noreturn]] static void jump(png_structp png, png_const_charp message) {
        std::snprintf(static_cast<char*>(png_get_error_ptr(png)), std::tuple_size<Message>::value,
                      "%s", message);
        png_longjmp(png, 1);
    }
    static void ignore(png_structp, png_const_charp) {}

    std::string path_;
    bool read_;
    std::unique_ptr<std::FILE, Close> in_;
    std::optional<WholeFile> out_;
    Message message_{};
};

/// The orientation of a file that has been read to its end: by EXIF, else by XMP.
inline std::size_t orientation_of(const PngFile& file) {
    std::string exif, xmp;
    png_bytep block = nullptr;
    png_uint_32 size = 0;
    if (png_get_eXIf_1(file.png, file.info, &size, &block) != 0) exif.assign(block, block + size);
    png_textp texts = nullptr;
    int count = 0;
    (void)png_get_text(file.png, file.info, &texts, &count);
    for (int i = 0; i < count; ++i) {
        const std::string key = texts[i].key;
        if (key == "Raw profile type exif" && exif.empty()) exif = raw_profile(texts[i].text);
        if (key == "XML:com.adobe.xmp") xmp = texts[i].text;
    }
    const std::size_t stated = exif_orientation(exif);
    return stated != 0 ? stated : xmp_orientation(xmp);
}

inline std::string profile_of(const PngFile& file) {
    png_charp name = nullptr;
    int compression = 0;
    png_bytep profile = nullptr;
    png_uint_32 size = 0;
    if (png_get_iCCP(file.png, file.info, &name, &compression, &profile, &size) == 0) return {};
    return {profile, profile + size};
}

/// Of the upright image: a picture that lies on its side swaps across and down.
inline Density density_of(const PngFile& file, std::size_t orientation) {
    png_uint_32 x = 0, y = 0;
    int unit = PNG_RESOLUTION_UNKNOWN;
    if (png_get_pHYs(file.png, file.info, &x, &y, &unit) == 0 || unit != PNG_RESOLUTION_METER)
        return {};
    return orientation >= 5 && orientation <= 8 ? Density{y, x} : Density{x, y};
}

inline Photo read_png(const std::string& path) {
    constexpr std::uint64_t kMostPixels =
        178'956'970;  // as in Python (runtime/images/codecs/files.py)
    PngFile file(path, true);
    png_structp png = file.png;
    int passes = 1;
    file.run([&] {
        png_read_info(png, file.info);
        png_set_expand(png);  // palettes, fewer bits than 8, a transparent colour
        png_set_scale_16(png);
        passes = png_set_interlace_handling(png);
        png_read_update_info(png, file.info);
    });
    const std::size_t width = png_get_image_width(png, file.info),
                      height = png_get_image_height(png, file.info);
    if (width * height > kMostPixels)
        file.refuse("it has " + std::to_string(width) + "x" + std::to_string(height) +
                    " pixels, the limit is " + std::to_string(kMostPixels) + ": crop it");
    hcflow::Image image(width, height, png_get_channels(png, file.info), hcflow::Pixel::u8);
    auto* pixels = static_cast<png_bytep>(image.view().data);
    const std::size_t row = png_get_rowbytes(png, file.info);
    volatile std::size_t there = 0;  // rows in full; longjmp may not lose the count
    const bool complete = file.tries([&] {
        for (int pass = 0; pass < passes; ++pass)
            for (std::size_t y = 0; y < height; ++y) {
                png_read_row(png, pixels + y * row, nullptr);
                if (pass == passes - 1) there = y + 1;
            }
    });
    if (!complete)
        file.refuse("it is damaged: " + std::to_string(there) + " of " + std::to_string(height) +
                    " rows are there (" + file.message() + ")");
    // Metadata may follow the pixels. A file truncated there still has all its pixels.
    (void)file.tries([&] { png_read_end(png, file.info); });
    const std::size_t orientation = orientation_of(file);
    return {upright(std::move(image), orientation), profile_of(file),
            density_of(file, orientation)};
}

/// Writes a PNG; `profile` and `density` are a Photo's.
inline void write_png(const std::string& path, const hcflow::Image& image,
                      const std::string& profile, const Density& density) {
    constexpr std::array<int, 4> kTypes = {PNG_COLOR_TYPE_GRAY, PNG_COLOR_TYPE_GRAY_ALPHA,
                                           PNG_COLOR_TYPE_RGB, PNG_COLOR_TYPE_RGB_ALPHA};
    PngFile file(path, false);
    png_structp png = file.png;
    const auto* icc = reinterpret_cast<png_const_bytep>(profile.data());
    const auto icc_size = static_cast<png_uint_32>(profile.size());
    const auto channels = static_cast<std::size_t>(image.channels());
    const unsigned char* pixels = image.bytes().data();
    file.run([&] {
        png_set_user_limits(png, PNG_UINT_31_MAX,
                            PNG_UINT_31_MAX);  // the default limit is a million a side
        png_set_IHDR(png, file.info, static_cast<png_uint_32>(image.width()),
                     static_cast<png_uint_32>(image.height()), 8, kTypes[channels - 1],
                     PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
        if (icc_size > 0)
            png_set_iCCP(png, file.info, "ICC Profile", PNG_COMPRESSION_TYPE_BASE, icc, icc_size);
        if (density.x > 0 && density.y > 0)
            png_set_pHYs(png, file.info, density.x, density.y, PNG_RESOLUTION_METER);
        png_write_info(png, file.info);
        for (std::size_t y = 0; y < image.height(); ++y)
            png_write_row(png, pixels + y * image.width() * channels);
        png_write_end(png, nullptr);
    });
    file.commit();
}
