// Measures the overhead of a model over its graph: upscale and the bare graph call in turn, times
// as JSON. The first line has the times to open the graph and of the first call.
//
//     hcflow-overhead BUNDLE WIDTH HEIGHT RUNS BACKEND THREADS [CACHE]       sizes in LR pixels
#include <chrono>
#include <cstdio>
#include <string>

#include "inference/network.hpp"
#include "inference/upscale.hpp"

int main(int argc, char** argv) try {
    using Clock = std::chrono::steady_clock;
    if (argc != 7 && argc != 8) return 2;
    const std::size_t width = std::stoul(argv[2]), height = std::stoul(argv[3]);
    hcflow::Options options;
    options.backend = argv[5];
    options.threads = std::stoi(argv[6]);
    if (argc == 8) options.cache = argv[7];
    const auto timed = [](const auto& action) {
        const Clock::time_point begin = Clock::now();
        action();
        return std::chrono::duration<double>(Clock::now() - begin).count();
    };
    const hcflow::Bundle bundle = hcflow::Bundle::open(argv[1]);
    const hcflow::Backend backend = hcflow::find_backends(bundle, options).front();
    hcflow::Network network(bundle, backend.open, backend.name, options);
    const hcflow::Graph& graph =
        network.graph(hcflow::Direction::inverse, true, network.precisions().front());
    const double open_seconds = timed([&] { (void)network.session(graph); });
    hcflow::Session& session = network.session(graph);

    const std::size_t scale = network.manifest().scale;
    const hcflow::Image image(width, height, 3, hcflow::Pixel::u8);
    hcflow::Image result(width * scale, height * scale, 3, hcflow::Pixel::u8);
    std::vector<std::vector<float>> values = {std::vector<float>(3 * width * height)};
    std::vector<hcflow::Feed> feeds = {{"lr", {1, 3, height, width}, nullptr}};
    for (const hcflow::Level& level : network.manifest().levels) {
        const hcflow::Shape shape = level.shape(height, width);
        feeds.push_back({hcflow::latent_name(feeds.size() - 1), shape, nullptr});
        values.emplace_back(hcflow::elements(shape));
    }
    for (std::size_t i = 0; i < feeds.size(); ++i) feeds[i].values = values[i].data();

    hcflow::UpscaleOptions drawn;
    drawn.tau = 1.0;  // with latents drawn: the slowest case
    const auto bare = [&] { (void)session.run(feeds); };
    const auto whole = [&] { upscale_into(network, image.view(), result.view(), drawn); };
    const double first_call = timed(bare);
    std::printf("{\"open\": %.6f, \"first\": %.6f}\n", open_seconds, first_call);
    whole();
    for (int i = 0; i < std::stoi(argv[4]); ++i) {
        // Each goes first every other time, so that drift affects both.
        double first = 0, second = 0;
        if (i % 2 == 0)
            first = timed(bare), second = timed(whole);
        else
            second = timed(whole), first = timed(bare);
        std::printf("{\"bare\": %.6f, \"upscale\": %.6f}\n", first, second);
    }
    return 0;
} catch (const std::exception& error) {
    std::fprintf(stderr, "hcflow-overhead: %s\n", error.what());
    return 1;
}
