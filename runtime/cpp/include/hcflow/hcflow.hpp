/** hcflow: opens a bundle as a model, and upscales and downscales images.
 *
 *     hcflow::Model model = hcflow::Model::load("bundles/rescale_x4");
 *     hcflow::Image large = model.upscale(small.view());
 *
 * The same bundle, backend, image, tau and seed give the same bytes as the Python runtime.
 * C++17. Functions throw hcflow::Error, std::bad_alloc and what the caller's Cancel throws.
 */
#ifndef HCFLOW_HCFLOW_HPP
#define HCFLOW_HCFLOW_HPP

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "hcflow/api.h"
#include "hcflow/image.hpp"

namespace hcflow {

/** The kind of an error; the values are those of the C interface. */
enum class ErrorCode : int {
    parameter = 1,  ///< an argument is out of range
    bundle = 2,     ///< a bundle is missing, damaged, newer than this library or incomplete
    image = 3,      ///< an image is invalid, or its run does not fit into memory
    backend = 4,    ///< a backend is not compiled in, failed, or returned NaN or infinity
    cancelled = 7,  ///< the caller's Cancel ended the call
};

/** The exception of this library. what() is one line; control characters in it are escaped. */
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

/** One latent of one image: float [channels, height, width]. */
struct Latent {
    std::size_t channels = 0;
    std::size_t height = 0;
    std::size_t width = 0;
    std::vector<float> values;
};

/** z1 … zL, finest first, multiplied by tau. */
using Latents = std::vector<Latent>;

/** `automatic`: fp32 or int8 for each image, whichever is faster and within the bundle's error
 *  budget; on a GPU fp16 or fp8, if every graph has an engine of it within the budget. It depends
 *  on image size, bundle, backend, engines, and processor or GPU alone. */
enum class Precision { fp32, fp16, int8, automatic, fp8 };

/** How a model is opened. */
struct Options {
    /** One of backends(), or "auto": the first that can run the bundle on this machine. */
    std::string backend = "auto";
    Precision precision = Precision::fp32;
    /** Threads of the backend, 0 to 1024; 0: one per processor of this process. */
    int threads = 0;
    /** Folder for compiled graphs, which make the next start faster. No other user may be able to
     *  write to it. Empty: none are kept. The usual folder is user_cache(). Engines of `hcflow
     *  compile` are looked for in this folder, or in user_cache() if it is empty. */
    std::string cache;
    /** Number of the GPU in gpus(), for GPU backends. */
    int gpu = 0;
};

struct Size {
    std::size_t width = 0;
    std::size_t height = 0;
};

/** Side of a tile and its overlap on each side, in LR pixels. tile 0: do not tile.
 *  overlap `kOwnOverlap`: the graph's own overlap. */
struct Tiling {
    static constexpr std::size_t kOwnOverlap = static_cast<std::size_t>(-1);

    std::size_t tile = 0;
    std::size_t overlap = 0;
};

/** A tile whose first output was invalid: its place in the grid, the reason, and how it was
 * computed instead. */
struct Healed {
    std::size_t row = 0;
    std::size_t column = 0;
    std::string reason;
    std::string how;
};

/** Filled while an image is computed. Several images may use one report, one after another. */
struct Report {
    /** Number of tiles; one that was computed again counts once. */
    std::size_t tiles = 0;
    std::vector<Healed> healed;
    /** The precision of the graph that computed the last image. */
    Precision precision = Precision::fp32;
    /** The tiling of the last image; {larger side in LR pixels, 0} if it was not tiled. */
    Tiling tiling;
    /** Tiles were made smaller as memory was short. Pixels may differ by up to
     * expected_disagreement from those with enough memory. */
    bool memory_short = false;
    /** The last image's tiles had less overlap than the build measured its precision to need, so
     * that tile borders may show. In fp32 only without any overlap: else disagreement tells. */
    bool overlap_short = false;
    /** Largest difference of two neighbouring tiles on a strip of one LR pixel beside their seam,
     * with values clipped to [0, 1]. If it is above expected_disagreement, use a larger overlap.
     * None: no tiles were compared. */
    std::optional<float> disagreement;
    /** Most that neighbouring tiles of the last image's graph should differ: 1/255 in fp32, twice
     * what the build measured below. */
    float expected_disagreement = 1.0F / 255;
};

/** Returns true once the call is to end. It is asked at least before every tile, in the call's
 * thread, which then ends with Error (cancelled); a result that the call was to write to is
 * undefined. */
using Cancel = std::function<bool()>;

struct UpscaleOptions {
    /** Temperature, 0 to 1e6; none: default_tau(). 0 always gives the same image. */
    std::optional<double> tau;
    std::uint64_t seed = 0;
    /** Number of the seed's sample. */
    std::uint32_t sample = 0;
    /** Exact size of the result: scale x the input, or up to scale - 1 smaller. */
    std::optional<Size> size;
    /** Replaces the graph's own grid. */
    std::optional<Tiling> tiling;
    /** Latents to use unchanged; they replace tau, seed and sample. Must outlive the call. */
    const Latents* latents = nullptr;
    /** Filled if not null. Must outlive the call. */
    Report* report = nullptr;
    Cancel cancel = nullptr;
};

struct DownscaleOptions {
    std::optional<Tiling> tiling;
    /** As in UpscaleOptions. */
    Report* report = nullptr;
    Cancel cancel = nullptr;
};

/** A tensor in GPU memory: float32, contiguous; `address` is a device pointer. */
struct DeviceTensor {
    std::string name;                ///< "lr", "hr", "z1" …: docs/graph-contract.md
    std::vector<std::size_t> shape;  ///< [N, channels, height, width]
    void* address = nullptr;
};

/** The result of downscale_with_latents. */
struct Reduced {
    Image image;
    Latents latents;
};

/** A bundle's network on a backend. Every method may be called from many threads at once.
 *
 * The images of a batch and the samples run one at a time, so batch, threads and order do not
 * change the bytes. A graph is read, checked against its SHA-256 and loaded at its first use, then
 * kept: later changes to the files have no effect. With "auto", engines are loaded when the model
 * is opened if another backend could replace them.
 */
class HCFLOW_API Model {
  public:
    /** Open a bundle by its folder or its manifest.json. Throws Error (bundle, backend,
     *  parameter). */
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
    /** The number of the GPU in use; -1: the backend does not run on a GPU. */
    [[nodiscard]] int gpu() const;
    /** Load the graphs of a direction now instead of at the first image. */
    void prepare(bool upscale, bool downscale) const;

    /** Upscale by `scale`. The result has the input's type and channels; values are clipped and
     *  rounded to nearest. Throws Error: image (null, no pixels, a stride smaller than a row,
     * floats outside [-0.5, 1.5], too little memory), parameter, bundle, backend, cancelled. */
    [[nodiscard]] Image upscale(ConstView image, const UpscaleOptions& options = {}) const;
    /** Upscale into the caller's pixels, of `size` or scale x the input, with the input's channels
     *  and any type. They must not overlap the input. After an error they are undefined. */
    void upscale(ConstView image, View result, const UpscaleOptions& options = {}) const;
    /** Upscale images of any size and type. Each gets the same latents as it would alone. */
    [[nodiscard]] std::vector<Image> upscale(const std::vector<ConstView>& images,
                                             const UpscaleOptions& options = {}) const;
    /** Draw `samples` >= 1 upscaled images of one image: sample, sample + 1, … */
    [[nodiscard]] std::vector<Image> draw(ConstView image, std::uint32_t samples,
                                          UpscaleOptions options = {}) const;

    /** Downscale by `scale`. Sides are rounded up, with padding by reflection; upscale's `size`
     *  removes the padding. */
    [[nodiscard]] Image downscale(ConstView image, const DownscaleOptions& options = {}) const;
    void downscale(ConstView image, View result, const DownscaleOptions& options = {}) const;
    [[nodiscard]] std::vector<Image> downscale(const std::vector<ConstView>& images,
                                               const DownscaleOptions& options = {}) const;
    /** Downscale and return the latents too, for upscale's `latents`. */
    [[nodiscard]] Reduced downscale_with_latents(ConstView image,
                                                 const DownscaleOptions& options = {}) const;

    [[nodiscard]] Latents downscale_with_latents(ConstView image, View result,
                                                 const DownscaleOptions& options = {}) const;

    /** Enqueue a run on GPU memory in a CUDA stream of the caller's and return at once; for the
     *  backends tensorrt and tensorrt-rtx. Tensors are not copied, clipped, rounded or checked for
     *  NaN. Inputs: lr and, for tau > 0, z1 … zL; output: hr. No tensor may change until the run is
     *  complete. stream: a cudaStream_t or CUstream of the model's GPU, not the default stream (0
     * or 1) and not being captured. An address that is no multiple of 256 costs a copy on the GPU.
     *  Throws Error: parameter (a stream or a tensor is not as described: missing, unknown, null,
     *  of a wrong shape, in host memory or on another GPU), backend, bundle. */
    void enqueue_upscale(const std::vector<DeviceTensor>& inputs,
                         const std::vector<DeviceTensor>& outputs, void* stream) const;
    /** As enqueue_upscale. Input: hr; outputs: every output of the graph. */
    void enqueue_downscale(const std::vector<DeviceTensor>& inputs,
                           const std::vector<DeviceTensor>& outputs, void* stream) const;

    /** The shapes of z1 … zL for an LR image of this size, without values. Throws Error
     * (parameter): they do not fit into memory. */
    [[nodiscard]] Latents latent_shapes(Size lr) const;

  private:
    class Body;
    explicit Model(std::unique_ptr<Body> body);
    std::unique_ptr<Body> body_;
};

/** The backends this library was compiled with, best first. */
HCFLOW_API std::vector<std::string> backends();

/** Every GPU that the NVIDIA driver finds, by number: "NVIDIA L4 (compute capability 8.9)". A slice
 *  of a GPU (MIG) says so in its name. Empty: no driver, no GPU, or no GPU backend compiled in. */
HCFLOW_API std::vector<std::string> gpus();

/** $HCFLOW_CACHE, $XDG_CACHE_HOME/hcflow or ~/.cache/hcflow (on Windows below %USERPROFILE%); empty
 *  if none of them is known. */
HCFLOW_API std::string user_cache();

/** The library's version, such as "0.1.0". */
HCFLOW_API const char* version() noexcept;

}  // namespace hcflow

#endif
