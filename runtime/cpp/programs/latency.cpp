// hcflow-latency: measures the time of upscaling images of one size.
//
//     hcflow-latency BUNDLE WIDTH HEIGHT [RUNS [BACKEND]]      sizes in LR pixels
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <vector>

#include "hcflow/hcflow.hpp"

namespace {

using Clock = std::chrono::steady_clock;

double milliseconds(Clock::time_point since) {
    return std::chrono::duration<double, std::milli>(Clock::now() - since).count();
}

std::size_t positive(const char* text) {
    const long value = std::strtol(text, nullptr, 10);
    return value > 0 ? static_cast<std::size_t>(value) : 1;
}

}  // namespace

int main(int argc, char** argv) try {
    if (argc < 4) {
        std::fputs("usage: hcflow-latency BUNDLE WIDTH HEIGHT [RUNS [BACKEND]]\n", stderr);
        return 2;
    }
    const std::size_t runs = argc > 4 ? positive(argv[4]) : 20;
    hcflow::Options options;
    if (argc > 5) options.backend = argv[5];

    const Clock::time_point start = Clock::now();
    const hcflow::Model model = hcflow::Model::load(argv[1], options);
    model.prepare(true, false);
    std::printf("%s on %s: ready after %.1f ms\n", model.name().c_str(), model.backend().c_str(),
                milliseconds(start));

    // Input and output are allocated once, as a service would do.
    const hcflow::Image image(positive(argv[2]), positive(argv[3]), 3, hcflow::Pixel::u8);
    hcflow::Image result(image.width() * model.scale(), image.height() * model.scale(), 3,
                         hcflow::Pixel::u8);
    std::vector<double> times;
    for (std::size_t i = 0; i < runs; ++i) {
        const Clock::time_point begin = Clock::now();
        model.upscale(image.view(), result.view());
        times.push_back(milliseconds(begin));
    }
    std::printf("first %.2f ms\n", times[0]);
    std::sort(times.begin(), times.end());
    const auto percentile = [&](std::size_t p) { return times[(times.size() - 1) * p / 100]; };
    std::printf("median %.2f ms, 90 %% %.2f ms, 99 %% %.2f ms, of %zu runs\n", percentile(50),
                percentile(90), percentile(99), runs);
    return 0;
} catch (const std::exception& error) {
    std::fprintf(stderr, "hcflow-latency: %s\n", error.what());
    return 1;
}
