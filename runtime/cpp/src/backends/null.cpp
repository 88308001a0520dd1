// Simple arithmetic with a graph's shapes in place of a network, so that tests need no backend's
// library.

#include "core/error.hpp"
#include "session.hpp"

namespace hcflow {
namespace {

class NullSession : public Session {
  public:
    explicit NullSession(const OpenRequest& request)
        : direction_(request.graph.direction),
          scale_(request.bundle.manifest().scale),
          levels_(request.bundle.manifest().levels) {
        (void)request.bundle.read_graph(request.graph);
        for (const Level& level : levels_)
            if (scale_ % level.factor != 0)
                throw_error(ErrorCode::backend,
                            "the null backend does not support a latent of factor ", level.factor,
                            " at scale ", scale_);
    }

    std::vector<Tensor> run(const std::vector<Feed>& feeds) override {
        return direction_ == Direction::inverse ? inverse(feeds) : forward(feeds);
    }

  private:
    /// hr = 3/4·lr + 1/16·Σ z, of the LR pixel and the latents' pixels at the same position.
    [[nodiscard]] std::vector<Tensor> inverse(const std::vector<Feed>& feeds) const {
        const Feed& lr = feeds.at(0);
        const std::size_t height = scale_ * lr.shape.at(2), width = scale_ * lr.shape.at(3);
        std::vector<float> hr(3 * height * width);
        for (std::size_t c = 0; c < 3; ++c)
            for (std::size_t y = 0; y < height; ++y)
                for (std::size_t x = 0; x < width; ++x) {
                    float sum = 0.75F * at(lr, c, y / scale_, x / scale_);
                    for (std::size_t i = 1; i < feeds.size(); ++i) {
                        const std::size_t block = scale_ / levels_[i - 1].factor;
                        sum += at(feeds[i], c % feeds[i].shape[1], y / block, x / block) / 16;
                    }
                    hr[(c * height + y) * width + x] = sum;
                }
        return {Tensor::own("hr", {1, 3, height, width}, std::move(hr))};
    }

    /// lr: the first pixel of each block; z: the first pixel of each of its blocks, minus 1/2.
    [[nodiscard]] std::vector<Tensor> forward(const std::vector<Feed>& feeds) const {
        const Feed& hr = feeds.at(0);
        std::vector<Tensor> outputs = {pick(hr, "lr", 3, scale_, 0)};
        for (const Level& level : levels_)
            outputs.push_back(pick(hr, latent_name(outputs.size() - 1), level.channels,
                                   scale_ / level.factor, 0.5F));
        return outputs;
    }

    static Tensor pick(const Feed& hr, std::string name, std::size_t channels, std::size_t block,
                       float less) {
        const std::size_t height = hr.shape.at(2) / block, width = hr.shape.at(3) / block;
        std::vector<float> values(channels * height * width);
        float* out = values.data();
        for (std::size_t c = 0; c < channels; ++c)
            for (std::size_t y = 0; y < height; ++y)
                for (std::size_t x = 0; x < width; ++x)
                    *out++ = at(hr, c % 3, y * block, x * block) - less;
        return Tensor::own(std::move(name), {1, channels, height, width}, std::move(values));
    }

    static float at(const Feed& feed, std::size_t c, std::size_t y, std::size_t x) {
        return feed.values[(c * feed.shape[2] + y) * feed.shape[3] + x];
    }

    Direction direction_;
    std::size_t scale_;
    std::vector<Level> levels_;
};

}  // namespace

std::unique_ptr<Session> open_null(const OpenRequest& request) {
    return std::make_unique<NullSession>(request);
}

}  // namespace hcflow
