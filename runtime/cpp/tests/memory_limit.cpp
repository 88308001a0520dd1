// Runs an image as if AVAILABLE_BYTES of memory were free. Reads and writes raw RGB bytes; the
// report goes to stderr as JSON.
//
//     hcflow-memory-limit BUNDLE BACKEND up|down WIDTH HEIGHT AVAILABLE_BYTES < in > out
#include <cstdio>
#include <cstdlib>
#include <string>

#include "inference/downscale.hpp"
#include "inference/network.hpp"
#include "inference/upscale.hpp"

namespace {

std::uint64_t available = 0;

std::optional<std::uint64_t> limit() { return available; }

}  // namespace

int main(int argc, char** argv) try {
    if (argc != 7) return 2;
    const bool up = std::string(argv[3]) == "up";
    available = std::stoull(argv[6]);
    hcflow::Options options;
    options.threads = 1;
    options.backend = argv[2];
    const hcflow::Bundle bundle = hcflow::Bundle::open(argv[1]);
    const hcflow::Backend backend = hcflow::find_backends(bundle, options).front();
    hcflow::Network network(bundle, backend.open, backend.name, options, limit);

    const std::size_t scale = network.manifest().scale;
    hcflow::Image image(std::stoul(argv[4]), std::stoul(argv[5]), 3, hcflow::Pixel::u8);
    if (std::fread(image.view().data, 1, image.bytes().size(), stdin) != image.bytes().size())
        return 2;
    const hcflow::Size lr = hcflow::downscaled_size({image.width(), image.height()}, scale);
    hcflow::Image result(up ? scale * image.width() : lr.width,
                         up ? scale * image.height() : lr.height, 3, hcflow::Pixel::u8);
    hcflow::Report report;
    if (up) {
        hcflow::UpscaleOptions run;
        run.report = &report;
        upscale_into(network, image.view(), result.view(), run);
    } else {
        downscale_into(network, image.view(), result.view(), {{}, &report}, nullptr);
    }
    (void)std::fwrite(result.bytes().data(), 1, result.bytes().size(), stdout);
    std::fprintf(stderr, "{\"tile\": %zu, \"short\": %s, \"disagreement\": %.9g}\n",
                 report.tiling.tile, report.memory_short ? "true" : "false",
                 static_cast<double>(report.disagreement.value_or(-1)));
    std::fflush(nullptr);
    std::_Exit(0);  // as in hcflow-cpp: OpenVINO's unloading is not tested
} catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
}
