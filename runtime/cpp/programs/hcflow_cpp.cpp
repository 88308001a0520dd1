// hcflow-cpp: upscales or downscales a PNG with a bundle. The example to copy from.
//
//     hcflow-cpp --bundle bundles/rescale_x4 --down photo.png small.png
//     hcflow-cpp --bundle bundles/rescale_x4 small.png large.png
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include "hcflow/hcflow.hpp"
#include "png_file.hpp"

namespace {

constexpr const char* kUsage =
    "usage: hcflow-cpp [options] in.png out.png\n"
    "in.png is turned upright by its EXIF or XMP; its colour profile is kept.\n"
    "  --bundle PATH     the model: a bundle's folder (or set HCFLOW_BUNDLE)\n"
    "  --down            downscale; default: upscale\n"
    "  --size WxH        exact size of the upscaled image\n"
    "  --tau NUMBER      temperature of the latents; default: the bundle's\n"
    "  --seed NUMBER     seed of the latents; default: 0\n"
    "  --tile N[+M]      tiles of N low-resolution pixels, overlapping by M on each side;\n"
    "                    default for M: the model's own overlap\n"
    "  --precision P     fp32, fp16, int8, or auto: the fastest within the error budget\n"
    "  --backend NAME    one of --backends; default: the best available\n"
    "  --threads N       default: one per processor\n"
    "  --no-cache        do not keep the compiled graph for the next start\n"
    "  --backends        list the backends compiled in\n";

struct Arguments {
    std::string bundle, in, out;
    bool down = false;
    hcflow::Options model;
    hcflow::UpscaleOptions run;
};

[[noreturn]] void refuse(const std::string& message) {
    throw hcflow::Error(hcflow::ErrorCode::parameter, message);
}

template <typename Number>
Number number(const std::string& option, const std::string& text) {
    Number value{};
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, value);
    if (error != std::errc() || stop != end) refuse(option + " is '" + text + "': give a number");
    return value;
}

hcflow::Precision precision(const std::string& text) {
    if (text == "fp32") return hcflow::Precision::fp32;
    if (text == "fp16") return hcflow::Precision::fp16;
    if (text == "int8") return hcflow::Precision::int8;
    if (text == "auto") return hcflow::Precision::automatic;
    refuse("--precision is '" + text + "': one of fp32, fp16, int8, auto");
}

Arguments parse(const std::vector<std::string>& words) {
    Arguments arguments;
    if (const char* bundle = std::getenv("HCFLOW_BUNDLE")) arguments.bundle = bundle;
    arguments.model.cache = hcflow::user_cache();
    std::vector<std::string> files;
    bool seeded = false;
    for (std::size_t i = 0; i < words.size(); ++i) {
        const std::string& word = words[i];
        const auto next = [&]() -> const std::string& {
            if (++i == words.size()) refuse(word + " needs a value");
            return words[i];
        };
        if (word == "--down")
            arguments.down = true;
        else if (word == "--no-cache")
            arguments.model.cache.clear();
        else if (word == "--bundle")
            arguments.bundle = next();
        else if (word == "--backend")
            arguments.model.backend = next();
        else if (word == "--precision")
            arguments.model.precision = precision(next());
        else if (word == "--threads")
            arguments.model.threads = number<int>(word, next());
        else if (word == "--tau")
            arguments.run.tau = number<double>(word, next());
        else if (word == "--seed") {
            arguments.run.seed = number<std::uint64_t>(word, next());
            seeded = true;
        } else if (word == "--size") {
            const std::string& text = next();
            const std::size_t x = text.find('x');
            if (x == std::string::npos) refuse("--size is '" + text + "': give WIDTHxHEIGHT");
            arguments.run.size = {number<std::size_t>(word, text.substr(0, x)),
                                  number<std::size_t>(word, text.substr(x + 1))};
        } else if (word == "--tile") {
            const std::string& text = next();
            const std::size_t plus = text.find('+');
            arguments.run.tiling = hcflow::Tiling{number<std::size_t>(word, text.substr(0, plus)),
                                                  hcflow::Tiling::kOwnOverlap};
            if (plus != std::string::npos)
                arguments.run.tiling->overlap = number<std::size_t>(word, text.substr(plus + 1));
        } else if (word.size() > 2 && word.compare(0, 2, "--") == 0) {
            refuse("unknown option '" + word + "'");
        } else {
            files.push_back(word);
        }
    }
    if (files.size() != 2) refuse("give one file to read and one to write");
    if (arguments.bundle.empty()) refuse("give a bundle: --bundle PATH");
    const hcflow::UpscaleOptions& up = arguments.run;
    if (arguments.down && (up.size || up.tau || seeded))
        refuse("--size, --tau and --seed are for upscaling: leave them out with --down");
    arguments.in = files[0];
    arguments.out = files[1];
    std::error_code none;  // the file may not exist
    if (std::filesystem::is_regular_file(arguments.in, none) &&
        std::filesystem::equivalent(arguments.in, arguments.out, none))
        refuse("'" + arguments.out + "' is the input image: give another file to write");
    return arguments;
}

}  // namespace

int main(int argc, char** argv) try {
    const std::vector<std::string> words(argv + 1, argv + argc);
    if (words.empty() || words[0] == "--help") {
        std::fputs(kUsage, stdout);
        return words.empty() ? 2 : 0;
    }
    if (words[0] == "--backends") {
        for (const std::string& name : hcflow::backends()) std::puts(name.c_str());
        return 0;
    }
    const Arguments arguments = parse(words);
    const Photo photo = read_png(arguments.in);
    const hcflow::ConstView image = photo.image.view();
    const hcflow::Model model = hcflow::Model::load(arguments.bundle, arguments.model);
    const hcflow::Image result = arguments.down ? model.downscale(image, {arguments.run.tiling})
                                                : model.upscale(image, arguments.run);
    write_png(arguments.out, result, photo.profile);
    // Destroying the network takes time, and the system frees the memory anyway.
    std::_Exit(0);
} catch (const std::exception& error) {
    std::fprintf(stderr, "hcflow-cpp: %s\n", error.what());
    return 1;
}
