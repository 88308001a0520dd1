// The command line of hcflow-cpp.
#pragma once

#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include "hcflow/hcflow.hpp"

inline constexpr const char* kUsage =
    "usage: hcflow-cpp [options] in.png [out.png]\n"
    "in.png is turned upright by its EXIF or XMP; its colour profile is kept. Without out.png, "
    "the\n"
    "upscaled image is in_x4.png beside it, which must not exist.\n"
    "  --bundle PATH     the model: a bundle's folder (or set HCFLOW_BUNDLE)\n"
    "  --down            downscale; default: upscale\n"
    "  --size WxH        exact size of the upscaled image\n"
    "  --tau NUMBER      temperature of the latents; default: the bundle's\n"
    "  --seed NUMBER     seed of the latents; default: 0\n"
    "  --tile N[+M]      tiles of N low-resolution pixels, overlapping by M on each side;\n"
    "                    default for M: the model's own overlap\n"
    "  --precision P     fp32, fp16, int8, fp8, or auto: the fastest within the error budget\n"
    "  --backend NAME    one of --backends; default: the best available\n"
    "  --device N        number of the GPU in --devices, for GPU backends; default: 0\n"
    "  --threads N       default: one per processor\n"
    "  --no-cache        do not keep the compiled graph for the next start\n"
    "  --backends        list the backends compiled in\n"
    "  --devices         list the GPUs\n";

struct Arguments {
    std::string bundle, in, out;  // out: empty if it was not given
    bool down = false;
    hcflow::Options model;
    hcflow::UpscaleOptions run;
};

[[noreturn]] inline void refuse(const std::string& message) {
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

inline hcflow::Precision precision(const std::string& text) {
    if (text == "fp32") return hcflow::Precision::fp32;
    if (text == "fp16") return hcflow::Precision::fp16;
    if (text == "int8") return hcflow::Precision::int8;
    if (text == "fp8") return hcflow::Precision::fp8;
    if (text == "auto") return hcflow::Precision::automatic;
    refuse("--precision is '" + text + "': one of fp32, fp16, int8, fp8, auto");
}

/// Throws hcflow::Error (parameter).
inline Arguments parse(const std::vector<std::string>& words) {
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
        else if (word == "--device")
            arguments.model.gpu = number<int>(word, next());
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
    if (files.empty() || files.size() > 2) refuse("give one file to read and one to write");
    if (files.size() == 1 && arguments.down) refuse("give a file to write: --down has no default");
    if (arguments.bundle.empty()) refuse("give a bundle: --bundle PATH");
    const hcflow::UpscaleOptions& up = arguments.run;
    if (arguments.down && (up.size || up.tau || seeded))
        refuse("--size, --tau and --seed are for upscaling: leave them out with --down");
    arguments.in = files[0];
    if (files.size() == 1) return arguments;
    arguments.out = files[1];
    std::error_code none;  // the file may not exist
    if (std::filesystem::is_regular_file(arguments.in, none) &&
        std::filesystem::equivalent(arguments.in, arguments.out, none))
        refuse("'" + arguments.out + "' is the input image: give another file to write");
    return arguments;
}

/// The file to write if none was given: beside the input. Throws hcflow::Error (parameter): it
/// exists.
inline std::string default_output(const std::string& in, std::size_t scale) {
    const std::filesystem::path path(in);
    const std::filesystem::path out =
        path.parent_path() / (path.stem().string() + "_x" + std::to_string(scale) + ".png");
    if (std::filesystem::exists(std::filesystem::symlink_status(out)))
        refuse("'" + out.string() + "' exists: name the file to write to replace it");
    return out.string();
}
