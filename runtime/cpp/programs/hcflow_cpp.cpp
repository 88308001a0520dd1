// hcflow-cpp: upscales or downscales a PNG with a bundle. The example to copy from.
//
//     hcflow-cpp --bundle bundles/rescale_x4 --down photo.png small.png
//     hcflow-cpp --bundle bundles/rescale_x4 small.png large.png
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <vector>

#include "arguments.hpp"
#include "hcflow/hcflow.hpp"
#include "png_file.hpp"

namespace {

/// Prints a line on standard error. An Error's text has control characters of paths escaped.
void print(const std::string& text) {
    const hcflow::Error line(hcflow::ErrorCode::parameter, text);
    std::fprintf(stderr, "%s\n", line.what());
}

/// Such as "small_x4.png: 400×300, sr_x4, fp32 on openvino, 3.1 s".
void print_result(const std::string& path, const hcflow::Image& image, const hcflow::Model& model,
                  hcflow::Precision precision, double seconds) {
    constexpr std::array<const char*, 5> kNames = {"fp32", "fp16", "int8", "auto", "fp8"};
    std::array<char, 80> time{};
    (void)std::snprintf(time.data(), time.size(), "%.1f s", seconds);
    print(path + ": " + std::to_string(image.width()) + "×" + std::to_string(image.height()) +
          ", " + model.name() + ", " + kNames.at(static_cast<std::size_t>(precision)) + " on " +
          model.backend() + ", " + time.data());
}

/// What a user should know of the tiles; mostly nothing.
void print_warnings(const hcflow::Report& report) {
    const auto warn = [](const std::string& text) { print("hcflow-cpp: warning: " + text); };
    if (report.overlap_short)
        warn("an overlap of " + std::to_string(report.tiling.overlap) +
             " is less than the model was measured to need: tile borders may show");
    if (report.disagreement.value_or(0) > report.expected_disagreement)
        warn("neighbouring tiles differ by more than they should: give a larger overlap");
    if (report.memory_short) warn("memory is short: smaller tiles, so that pixels may differ");
    if (!report.healed.empty())
        warn(std::to_string(report.healed.size()) + " of " + std::to_string(report.tiles) +
             " tiles went wrong and were computed again");
}

}  // namespace

int main(int argc, char** argv) try {
    using Clock = std::chrono::steady_clock;
    const Clock::time_point start = Clock::now();
    const std::vector<std::string> words(argv + 1, argv + argc);
    if (words.empty() || words[0] == "--help") {
        std::fputs(kUsage, stdout);
        return words.empty() ? 2 : 0;
    }
    if (words[0] == "--backends") {
        for (const std::string& name : hcflow::backends()) std::puts(name.c_str());
        return 0;
    }
    if (words[0] == "--devices") {
        const std::vector<std::string> gpus = hcflow::gpus();
        for (std::size_t i = 0; i < gpus.size(); ++i) std::printf("%zu: %s\n", i, gpus[i].c_str());
        return 0;
    }
    Arguments arguments = parse(words);
    const Photo photo = read_png(arguments.in);
    const hcflow::ConstView image = photo.image.view();
    const hcflow::Model model = hcflow::Model::load(arguments.bundle, arguments.model);
    if (arguments.out.empty()) arguments.out = default_output(arguments.in, model.scale());
    hcflow::Report report;
    arguments.run.report = &report;
    const hcflow::Image result = arguments.down
                                     ? model.downscale(image, {arguments.run.tiling, &report})
                                     : model.upscale(image, arguments.run);
    write_png(arguments.out, result, photo.profile, photo.density);
    print_warnings(report);
    const std::chrono::duration<double> took = Clock::now() - start;
    print_result(arguments.out, result, model, report.precision, took.count());
    // Destroying the network takes time, and the system frees the memory anyway.
    std::_Exit(0);
} catch (const std::exception& error) {
    print(std::string("hcflow-cpp: ") + error.what());
    return 1;
}
