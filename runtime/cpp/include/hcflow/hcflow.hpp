/** hcflow: a bundle as a model; images in, images of the same form out.
 *
 *     hcflow::Model model = hcflow::Model::load("bundles/rescale_x4");
 *     hcflow::Image large = model.upscale(small.view());
 *
 * The same bundle, backend, image, tau and seed give the bytes that the Python runtime gives.
 * C++17. Errors are hcflow::Error; nothing else leaves but std::bad_alloc.
 */
#ifndef HCFLOW_HCFLOW_HPP
#define HCFLOW_HCFLOW_HPP

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "hcflow/api.h"

namespace hcflow {

/** What kind of thing is wrong; the values are those of the C interface. */
enum class ErrorCode : int {
    parameter = 1,  ///< an argument is out of its range
    bundle = 2,     ///< a bundle is missing, damaged, newer than this library, or lacks something
    image = 3,      ///< an image cannot be used, or its run would not fit into memory
    backend = 4,    ///< a backend is not compiled in, failed, or gave NaN or infinity
};

/** The one exception of this library; what() is one line for the user. */
class HCFLOW_API Error : public std::runtime_error {
  public:
    Error(ErrorCode code, const std::string& message);
    Error(const Error&) = default;
    Error& operator=(const Error&) = default;
    ~Error() override;
    [[nodiscard]] ErrorCode code() const noexcept { return code_; }

  private:
    ErrorCode code_;
};

/** Type of one channel: 0 … 255, 0 … 65535, or float in [0, 1]. */
enum class Pixel : int { u8 = 1, u16 = 2, f32 = 4 };

/** Pixels that belong to somebody else: interleaved channels, rows `stride` bytes apart.
 *
 * channels: 1 gray, 2 gray and alpha, 3 RGB, 4 RGB and alpha. stride: at least a row of pixels;
 * 0 means rows without gaps. No alignment is asked for.
 */
struct ConstView {
    const void* data = nullptr;
    std::size_t width = 0;
    std::size_t height = 0;
    int channels = 3;
    Pixel type = Pixel::u8;
    std::size_t stride = 0;
};

/** As ConstView, to write to. */
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
    /** All zero. Throws Error (image) for zero or absurd sizes. */
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

/** One latent of one image: float [channels, height, width]. */
struct Latent {
    std::size_t channels = 0;
    std::size_t height = 0;
    std::size_t width = 0;
    std::vector<float> values;
};

/** z1 … zL, finest first, already multiplied by tau. */
using Latents = std::vector<Latent>;

/** `automatic`: for each image fp32 or int8, whichever takes less time here, within the budget that
 *  the bundle was built to. It follows from image, bundle, backend and processor alone. */
enum class Precision { fp32, fp16, int8, automatic };

/** How a model is opened. */
struct Options {
    /** One of backends(), or "auto": the first of them that can run the bundle here. */
    std::string backend = "auto";
    Precision precision = Precision::fp32;
    /** Threads of the backend, 0 to 1024; 0 is every processor this process may use. */
    int threads = 0;
    /** Folder where a backend may keep compiled graphs, so that the next start is faster; only for
     *  this user to write to. Empty: nothing is kept. user_cache() is the usual one; engines that
     *  `hcflow compile` made are looked for here, or there if this is empty. */
    std::string cache;
    /** Number of the GPU, for backends that run on one. */
    int gpu = 0;
};

struct Size {
    std::size_t width = 0;
    std::size_t height = 0;
};

/** Side of a tile and what its window has beyond it on each side, LR pixels; tile 0: never cut.
 *  overlap `kOwnOverlap`: the one that the graph states, which it was measured with. */
struct Tiling {
    static constexpr std::size_t kOwnOverlap = static_cast<std::size_t>(-1);

    std::size_t tile = 0;
    std::size_t overlap = 0;
};

/** A tile whose first result was no picture: where in the grid, what was wrong, what helped. */
struct Healed {
    std::size_t row = 0;
    std::size_t column = 0;
    std::string reason;
    std::string how;
};

/** Filled while an image is computed; several images may add to one, from one thread at a time. */
struct Report {
    /** Computed, healed ones counted once. */
    std::size_t tiles = 0;
    std::vector<Healed> healed;
    /** Of the graph that computed the last image. */
    Precision precision = Precision::fp32;
    /** Of the last image; of one that ran whole, its larger side in LR pixels and 0. */
    Tiling tiling;
    /** Memory was short and tiles are smaller than they were to be: pixels may differ by up to
     *  1/255 from what more memory gives. */
    bool memory_short = false;
    /** Largest difference of two neighbouring tiles on a strip of one LR pixel beside their seam,
     *  of images clipped to [0, 1]; above 1/255 a larger overlap brings them together. None where
     *  no two were compared. */
    std::optional<float> disagreement;
};

struct UpscaleOptions {
    /** Temperature, 0 to 1e6; none: default_tau(). 0 always gives the same image. */
    std::optional<double> tau;
    std::uint64_t seed = 0;
    /** Which of the seed's pictures. */
    std::uint32_t sample = 0;
    /** Exact size of the result, at most scale - 1 below scale x the input. */
    std::optional<Size> size;
    /** Another grid than the graph's own. */
    std::optional<Tiling> tiling;
    /** Latents to use as they are in place of drawn ones and of tau. Must outlive the call. */
    const Latents* latents = nullptr;
    /** Takes notes if not null. Must outlive the call. */
    Report* report = nullptr;
};

struct DownscaleOptions {
    std::optional<Tiling> tiling;
    /** As in UpscaleOptions. */
    Report* report = nullptr;
};

/** A tensor in GPU memory: float32, contiguous; `address` is a device pointer. */
struct DeviceTensor {
    std::string name;                ///< "lr", "hr", "z1" …: docs/graph-contract.md
    std::vector<std::size_t> shape;  ///< [N, channels, height, width]
    void* address = nullptr;
};

/** What downscale_with_latents gives. */
struct Reduced {
    Image image;
    Latents latents;
};

/** A bundle's network on a backend. Every method may be called from many threads at once.
 *
 * Images of a batch and samples run one at a time, so neither batch, threads nor order can change a
 * byte. Graphs are read, checked against their SHA-256 and loaded when first used (engines that
 * "auto" found, at once where another backend is left), then kept: what happens to the files
 * afterwards changes nothing.
 */
class HCFLOW_API Model {
  public:
    /** Open a bundle's folder, or its manifest.json. Throws Error (bundle, backend, parameter). */
    static Model load(const std::string& path, const Options& options = {});

    Model(Model&&) noexcept;
    Model& operator=(Model&&) noexcept;
    ~Model();

    [[nodiscard]] const std::string& name() const;
    /** HR size / LR size. */
    [[nodiscard]] std::size_t scale() const;
    /** "rescaling" or "sr". */
    [[nodiscard]] const std::string& task() const;
    [[nodiscard]] double default_tau() const;
    /** The backend in use. */
    [[nodiscard]] const std::string& backend() const;
    /** Read, check and load a direction's graph now and not at the first image. */
    void prepare(bool upscale, bool downscale) const;

    /** Upscale by `scale`: what goes in (type, channels) comes out, clipped and rounded to nearest.
     *  Throws Error: image (null, no pixels, a stride below a row, floats beyond [-0.5, 1.5],
     *  memory), parameter, bundle, backend. */
    [[nodiscard]] Image upscale(ConstView image, const UpscaleOptions& options = {}) const;
    /** As above into the caller's pixels: `size`, or scale x the input, with the input's channels
     *  and any type. They must not overlap the input; on an error they may be partly written. */
    void upscale(ConstView image, View result, const UpscaleOptions& options = {}) const;
    /** Each image by itself, of any size and form; each gets the latents it would get alone. */
    [[nodiscard]] std::vector<Image> upscale(const std::vector<ConstView>& images,
                                             const UpscaleOptions& options = {}) const;
    /** `samples` >= 1 different pictures of one image: sample, sample + 1, … */
    [[nodiscard]] std::vector<Image> draw(ConstView image, std::uint32_t samples,
                                          UpscaleOptions options = {}) const;

    /** Downscale by `scale`, sides rounded up (padded by reflection); upscale's `size` undoes it.
     */
    [[nodiscard]] Image downscale(ConstView image, const DownscaleOptions& options = {}) const;
    void downscale(ConstView image, View result, const DownscaleOptions& options = {}) const;
    [[nodiscard]] std::vector<Image> downscale(const std::vector<ConstView>& images,
                                               const DownscaleOptions& options = {}) const;
    /** Also the latents, for upscale's `latents`. */
    [[nodiscard]] Reduced downscale_with_latents(ConstView image,
                                                 const DownscaleOptions& options = {}) const;

    [[nodiscard]] Latents downscale_with_latents(ConstView image, View result,
                                                 const DownscaleOptions& options = {}) const;

    /** Put a run on GPU memory into a CUDA stream of the caller's and return at once; backends
     *  tensorrt and tensorrt-rtx. Nothing is copied, clipped, rounded or checked for NaN, and
     *  nobody waits. Inputs: lr and, for tau > 0, z1 … zL; output: hr. All must stay as they are
     *  until the stream has come past the run. stream: a cudaStream_t or CUstream, not the default
     *  one. Throws Error: parameter (a tensor missing, unknown, null or of another shape), backend,
     *  bundle. */
    void enqueue_upscale(const std::vector<DeviceTensor>& inputs,
                         const std::vector<DeviceTensor>& outputs, void* stream) const;
    /** As above. Input: hr; outputs: every output of the graph. */
    void enqueue_downscale(const std::vector<DeviceTensor>& inputs,
                           const std::vector<DeviceTensor>& outputs, void* stream) const;

    /** Shapes of z1 … zL of an LR image of that size, without values. Throws Error (parameter):
     *  more than memory can hold. */
    [[nodiscard]] Latents latent_shapes(Size lr) const;

  private:
    class Body;
    explicit Model(std::unique_ptr<Body> body);
    std::unique_ptr<Body> body_;
};

/** The backends this library was compiled with, best first. */
HCFLOW_API std::vector<std::string> backends();

/** $HCFLOW_CACHE, $XDG_CACHE_HOME/hcflow or ~/.cache/hcflow; empty where none of them is known. */
HCFLOW_API std::string user_cache();

/** Version of the library, "0.1.0". */
HCFLOW_API const char* version() noexcept;

}  // namespace hcflow

#endif
