/** Pixels: the caller's, and images that own theirs. Included by hcflow.hpp. */
#ifndef HCFLOW_IMAGE_HPP
#define HCFLOW_IMAGE_HPP

#include <cstddef>
#include <vector>

#include "hcflow/api.h"

namespace hcflow {

/** Type of one channel: 0 … 255, 0 … 65535, or float in [0, 1]. */
enum class Pixel : int { u8 = 1, u16 = 2, f32 = 4 };

/** The caller's pixels: interleaved channels, rows `stride` bytes apart.
 *
 * channels: 1 gray, 2 gray and alpha, 3 RGB, 4 RGB and alpha. stride: at least a row of pixels;
 * 0: rows without gaps. Pixels need no alignment.
 */
struct ConstView {
    const void* data = nullptr;
    std::size_t width = 0;
    std::size_t height = 0;
    int channels = 3;
    Pixel type = Pixel::u8;
    std::size_t stride = 0;
};

/** A ConstView that can be written to. */
struct View {
    void* data = nullptr;
    std::size_t width = 0;
    std::size_t height = 0;
    int channels = 3;
    Pixel type = Pixel::u8;
    std::size_t stride = 0;

    operator ConstView() const { return {data, width, height, channels, type, stride}; }
};

/** An image that owns its pixels, rows without gaps. */
class HCFLOW_API Image {
  public:
    Image() = default;
    /** All pixels are zero. Throws Error (image): a size is zero or too large. */
    Image(std::size_t width, std::size_t height, int channels, Pixel type);

    [[nodiscard]] View view();
    [[nodiscard]] ConstView view() const;
    [[nodiscard]] std::size_t width() const { return width_; }
    [[nodiscard]] std::size_t height() const { return height_; }
    [[nodiscard]] int channels() const { return channels_; }
    [[nodiscard]] Pixel type() const { return type_; }
    /** width · height · channels · bytes of the type. */
    [[nodiscard]] const std::vector<unsigned char>& bytes() const { return bytes_; }

  private:
    std::size_t width_ = 0;
    std::size_t height_ = 0;
    int channels_ = 3;
    Pixel type_ = Pixel::u8;
    std::vector<unsigned char> bytes_;
};

}  // namespace hcflow

#endif
