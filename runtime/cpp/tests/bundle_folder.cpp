#include "bundle_folder.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <fstream>

#include "core/sha256.hpp"

namespace tests {
namespace {

nlohmann::json graph(const std::string& direction, const std::string& bytes) {
    const std::string digest = hcflow::sha256(bytes.data(), bytes.size());
    return {{"direction", direction},
            {"precision", "fp32"},
            {"latents", true},
            {"io", "float32"},
            {"contract", 1},
            {"opset", 20},
            {"file", direction + ".fp32." + digest.substr(0, 12) + ".onnx"},
            {"sha256", digest},
            {"bytes", bytes.size()},
            {"nodes", 4},
            {"bytes_per_lr_pixel", 1000},
            {"numerics",
             {{"tf32", false}, {"accumulation", "float32"}, {"openvino_precision_hint", "f32"}}},
            {"within_budget", true},
            {"parity",
             {{{"case", "noise"},
               {"tau", 0},
               {"output", "hr"},
               {"psnr_db", nullptr},
               {"max_abs", 1e-7},
               {"max_rel", 1e-7},
               {"ok", true}}}},
            {"tile", nullptr},
            {"overlap", nullptr}};
}

}  // namespace

BundleFolder::BundleFolder(const std::function<void(nlohmann::json&)>& change) {
    static std::atomic<int> count{0};
    folder = std::filesystem::temp_directory_path() /
             ("hcflow-" + std::to_string(getpid()) + "-" + std::to_string(count++));
    std::filesystem::create_directories(folder);
    manifest = {
        {"schema", 1},
        {"name", "tiny_x4"},
        {"task", "rescaling"},
        {"scale", 4},
        {"default_tau", 0.0},
        {"latents",
         {{"scheme", "philox4x32-10/box-muller-f32/1"},
          {"levels", {{{"channels", 6}, {"factor", 2}}, {{"channels", 21}, {"factor", 1}}}}}},
        {"checkpoint", {{"sha256", std::string(64, '0')}, {"provenance", {{"by", "us"}}}}},
        {"tools", {{"onnx", "1.0"}}},
        {"graphs", nlohmann::json::array()},
        {"vectors", {{"file", "vectors.npz"}, {"sha256", std::string(64, 'a')}}},
        {"engines", nlohmann::json::array()}};
    for (const std::string direction : {"inverse", "forward"}) {
        const std::string bytes = "no network, " + direction;
        manifest["graphs"].push_back(graph(direction, bytes));
        write(folder / manifest["graphs"].back()["file"].get<std::string>(), bytes);
    }
    if (change) change(manifest);
    write(folder / "manifest.json", manifest.dump());
}

BundleFolder::~BundleFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(folder, ignored);
}

hcflow::Model BundleFolder::open() const {
    hcflow::Options options;
    options.backend = "null";
    return hcflow::Model::load(path(), options);
}

bool make_pipe([[maybe_unused]] const std::filesystem::path& path) {
#ifdef _WIN32
    return false;
#else
    return mkfifo(path.c_str(), 0600) == 0;
#endif
}

bool make_link(const std::filesystem::path& target, const std::filesystem::path& link) {
    std::error_code error;
    std::filesystem::create_symlink(target, link, error);
    return !error;
}

void write(const std::filesystem::path& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary) << bytes;
}

hcflow::Image noise(std::size_t width, std::size_t height, int channels, hcflow::Pixel type) {
    hcflow::Image image(width, height, channels, type);
    auto* bytes = static_cast<unsigned char*>(image.view().data);
    const std::size_t count = width * height * static_cast<std::size_t>(channels);
    std::uint32_t state = 1;
    for (std::size_t i = 0; i < count; ++i) {
        state = state * 1664525U + 1013904223U;
        if (type == hcflow::Pixel::f32) {
            const float value = static_cast<float>(state >> 8U) * 0x1p-24F;
            std::memcpy(bytes + i * 4, &value, 4);
        } else {
            std::memcpy(bytes + i * static_cast<std::size_t>(type),
                        reinterpret_cast<const unsigned char*>(&state) + 2,
                        static_cast<std::size_t>(type));
        }
    }
    return image;
}

hcflow::UpscaleOptions tau(double value) {
    hcflow::UpscaleOptions options;
    options.tau = value;
    return options;
}

std::string error_of(const std::function<void()>& action) {
    try {
        action();
    } catch (const hcflow::Error& error) {
        return std::to_string(static_cast<int>(error.code())) + ": " + error.what();
    }
    return "nothing";
}

bool has(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

}  // namespace tests
