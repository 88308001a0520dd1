#include <cstdint>
#include <limits>
#include <utility>

#include "core/error.hpp"
#include "hcflow/hcflow.hpp"
#include "image/pixels.hpp"
#include "inference/downscale.hpp"
#include "inference/network.hpp"
#include "inference/upscale.hpp"

namespace hcflow {
namespace {

constexpr int kMostThreads = 1024;  // as in Python: a typing error must not start a million threads

/// An image of the size to downscale to. Throws Error (image): as checked.
Image downscaled_image(const ConstView& view, std::size_t scale) {
    const ConstView image = checked(view, "image", false);
    const Size size = downscaled_size({image.width, image.height}, scale);
    return {size.width, size.height, image.channels, image.type};
}

Options with_precision(Options options, Precision precision) {
    options.precision = precision;
    return options;
}

}  // namespace

class Model::Body {
  public:
    Body(const Bundle& bundle, const Backend& backend, const Options& options)
        : network(bundle, backend.open, backend.name, with_precision(options, backend.precision)) {}

    void enqueue(Direction direction, bool latents, const std::vector<DeviceTensor>& inputs,
                 const std::vector<DeviceTensor>& outputs, void* stream) {
        const Graph& graph = network.graph(direction, latents, network.precisions().front());
        network.session(graph).enqueue(inputs, outputs, stream);
    }

    Network network;
};

Model::Model(std::unique_ptr<Body> body) : body_(std::move(body)) {}
Model::Model(Model&&) noexcept = default;
Model& Model::operator=(Model&&) noexcept = default;
Model::~Model() = default;

Model Model::load(const std::string& path, const Options& options) {
    if (options.threads < 0 || options.threads > kMostThreads)
        throw_error(ErrorCode::parameter, "threads is ", options.threads, ": it must be from 0 to ",
                    kMostThreads);
    (void)to_string(options.precision);  // throws if it is invalid
    check_backend(options.backend);
    const Bundle bundle = Bundle::open(path);
    std::vector<Backend> choice = find_backends(bundle, options);
    // Only loading an engine shows whether it works. If one fails, the next backend is tried.
    for (; choice.size() > 1; choice.erase(choice.begin())) {
        try {
            auto body = std::make_unique<Body>(bundle, choice.front(), options);
            body->network.load_all();
            return Model(std::move(body));
        } catch (const Error& error) {
            if (error.code() != ErrorCode::backend) throw;
        }
    }
    return Model(std::make_unique<Body>(bundle, choice.front(), options));
}

const std::string& Model::name() const { return body_->network.manifest().name; }
std::size_t Model::scale() const { return body_->network.manifest().scale; }
const std::string& Model::task() const { return body_->network.manifest().task; }
double Model::default_tau() const { return body_->network.manifest().default_tau; }
const std::string& Model::backend() const { return body_->network.backend(); }

int Model::gpu() const { return body_->network.gpu(); }

void Model::prepare(bool upscale, bool downscale) const {
    Network& network = body_->network;
    for (const Precision precision : network.precisions()) {
        if (upscale)
            network.session(network.graph(Direction::inverse, default_tau() > 0, precision));
        if (downscale) network.session(network.graph(Direction::forward, false, precision));
    }
}

Image Model::upscale(ConstView image, const UpscaleOptions& options) const {
    image = checked(image, "image", false);
    const Size size = target_size({image.width, image.height}, scale(), options.size);
    Image result(size.width, size.height, image.channels, image.type);
    upscale(image, result.view(), options);
    return result;
}

void Model::upscale(ConstView image, View result, const UpscaleOptions& options) const {
    upscale_into(body_->network, image, result, options);
}

std::vector<Image> Model::upscale(const std::vector<ConstView>& images,
                                  const UpscaleOptions& options) const {
    if (options.latents != nullptr && images.size() != 1)
        throw_error(ErrorCode::parameter, "latents go with one image, not with ", images.size());
    std::vector<Image> results;
    results.reserve(images.size());
    for (const ConstView& image : images) results.push_back(upscale(image, options));
    return results;
}

std::vector<Image> Model::draw(ConstView image, std::uint32_t samples,
                               UpscaleOptions options) const {
    if (samples < 1) throw_error(ErrorCode::parameter, "samples is 0: it must be 1 or more");
    if (options.latents != nullptr)
        throw_error(ErrorCode::parameter, "latents replace samples: give one or the other");
    if (samples - 1 > UINT32_MAX - options.sample)
        throw_error(ErrorCode::parameter, "samples ", options.sample, " and ", samples - 1,
                    " more: a sample must be below 2^32");
    std::vector<Image> results;
    for (std::uint32_t i = 0; i < samples; ++i) {
        results.push_back(upscale(image, options));
        ++options.sample;
    }
    return results;
}

Image Model::downscale(ConstView image, const DownscaleOptions& options) const {
    Image result = downscaled_image(image, scale());
    downscale(image, result.view(), options);
    return result;
}

void Model::downscale(ConstView image, View result, const DownscaleOptions& options) const {
    downscale_into(body_->network, image, result, options, nullptr);
}

std::vector<Image> Model::downscale(const std::vector<ConstView>& images,
                                    const DownscaleOptions& options) const {
    std::vector<Image> results;
    results.reserve(images.size());
    for (const ConstView& image : images) results.push_back(downscale(image, options));
    return results;
}

Reduced Model::downscale_with_latents(ConstView image, const DownscaleOptions& options) const {
    Reduced result{downscaled_image(image, scale()), {}};
    result.latents = downscale_with_latents(image, result.image.view(), options);
    return result;
}

Latents Model::downscale_with_latents(ConstView image, View result,
                                      const DownscaleOptions& options) const {
    image = checked(image, "image", false);
    Latents latents = latent_shapes(downscaled_size({image.width, image.height}, scale()));
    for (Latent& z : latents) z.values.resize(z.channels * z.height * z.width);
    downscale_into(body_->network, image, result, options, &latents);
    return latents;
}

void Model::enqueue_upscale(const std::vector<DeviceTensor>& inputs,
                            const std::vector<DeviceTensor>& outputs, void* stream) const {
    body_->enqueue(Direction::inverse, inputs.size() > 1, inputs, outputs, stream);
}

void Model::enqueue_downscale(const std::vector<DeviceTensor>& inputs,
                              const std::vector<DeviceTensor>& outputs, void* stream) const {
    body_->enqueue(Direction::forward, outputs.size() > 1, inputs, outputs, stream);
}

Latents Model::latent_shapes(Size lr) const {
    constexpr std::size_t kMostValues = std::numeric_limits<std::size_t>::max() / 2 / sizeof(float);
    const auto refuse = [&] {
        throw_error(ErrorCode::parameter, "latents of a low-resolution size of ", lr.width, "x",
                    lr.height, ": they do not fit into memory");
    };
    if (lr.width > kMostSide || lr.height > kMostSide) refuse();
    Latents shapes;
    for (const Level& level : body_->network.manifest().levels) {
        shapes.push_back({level.channels, lr.height * level.factor, lr.width * level.factor, {}});
        // Sides are below 2^38 and channels at most 2^16, so channels · height does not overflow.
        const Latent& z = shapes.back();
        if (z.width != 0 && z.channels * z.height > kMostValues / z.width) refuse();
    }
    return shapes;
}

}  // namespace hcflow
