// The C interface: checks its arguments and turns exceptions into error codes.
#include <algorithm>
#include <cstring>

#include "c_error.hpp"
#include "core/error.hpp"
#include "hcflow/hcflow.h"
#include "image/pixels.hpp"

struct hcflow_model {
    hcflow::Model model;
    hcflow::Latents levels;  // shapes for an LR image of 1×1
};

namespace {

using hcflow::ErrorCode;
using hcflow::guarded;
using hcflow::throw_error;

/// Writes defaults to a caller's structure, which may be shorter or longer than ours.
template <typename Struct>
void fill(Struct* given, size_t size, Struct defaults) {
    if (given == nullptr || size < sizeof defaults.struct_size) return;
    defaults.struct_size = std::min(size, sizeof defaults);
    std::memcpy(static_cast<void*>(given), &defaults, defaults.struct_size);
}

/// The caller's structure as ours; members that an older caller does not have keep their defaults.
template <typename Struct>
Struct grown(const Struct* given, void (*init)(Struct*, size_t), const char* what) {
    Struct full;
    init(&full, sizeof full);
    if (given == nullptr) return full;
    const std::size_t size = given->struct_size;
    if (size < sizeof(std::size_t) || size > 1024)
        throw_error(ErrorCode::parameter, what, ".struct_size is ", size, ": fill it with hcflow_",
                    what, "_init first");
    std::memcpy(static_cast<void*>(&full), given, std::min(size, sizeof full));
    return full;
}

void not_null(const void* pointer, const char* what) {
    if (pointer == nullptr) throw_error(ErrorCode::parameter, what, " is null");
}

hcflow::View view(const hcflow_image* given, const char* what) {
    not_null(given, what);
    const hcflow_image image = grown(given, hcflow_image_init, "image");
    return {image.data,
            image.width,
            image.height,
            image.channels,
            static_cast<hcflow::Pixel>(image.type),
            image.stride};
}

std::optional<hcflow::Tiling> tiling(const hcflow_run_options& options) {
    if (options.own_grid == 0) return std::nullopt;
    return hcflow::Tiling{options.tile, options.overlap};
}

void check_latents(const hcflow_model& model, const hcflow_run_options& options) {
    if (options.latents_count != model.levels.size())
        throw_error(ErrorCode::parameter, options.latents_count, " latents given: this model has ",
                    model.levels.size());
    for (std::size_t i = 0; i < options.latents_count; ++i)
        if (options.latents[i] == nullptr)
            throw_error(ErrorCode::parameter, "latent z", i + 1, " is null");
}

hcflow::Cancel cancel(const hcflow_run_options& options) {
    if (options.cancel == nullptr) return nullptr;
    return [ask = options.cancel, user = options.cancel_user] { return ask(user) != 0; };
}

/// Copies a report to the addresses in the caller's options.
void write_report(const hcflow::Report& report, const hcflow_run_options& given) {
    if (given.healed != nullptr) *given.healed = report.healed.size();
    if (given.tile_used != nullptr) *given.tile_used = report.tiling.tile;
    if (given.disagreement != nullptr) *given.disagreement = report.disagreement.value_or(-1);
    if (given.precision_used != nullptr)
        *given.precision_used = static_cast<int32_t>(report.precision);
}

void upscale(const hcflow_model& model, const hcflow::ConstView& image, hcflow::View result,
             const hcflow_run_options& given) {
    hcflow::UpscaleOptions options;
    if (given.tau >= 0 || given.tau != given.tau) options.tau = given.tau;  // NaN is refused later
    options.seed = given.seed;
    options.sample = given.sample;
    options.tiling = tiling(given);
    options.cancel = cancel(given);
    hcflow::Report report;
    options.report = &report;
    hcflow::Latents latents;
    if (given.latents != nullptr) {
        check_latents(model, given);
        (void)hcflow::checked(image, "image", false);  // its size decides how much is read below
        latents = model.model.latent_shapes({image.width, image.height});
        for (std::size_t i = 0; i < latents.size(); ++i) {
            hcflow::Latent& z = latents[i];
            z.values.assign(given.latents[i], given.latents[i] + z.channels * z.height * z.width);
        }
        options.latents = &latents;
    }
    model.model.upscale(image, result, options);
    write_report(report, given);
}

void downscale(const hcflow_model& model, const hcflow::ConstView& image, hcflow::View result,
               const hcflow_run_options& given) {
    hcflow::Report report;
    const hcflow::DownscaleOptions options{tiling(given), &report, cancel(given)};
    if (given.latents == nullptr) {
        model.model.downscale(image, result, options);
    } else {
        check_latents(model, given);
        const hcflow::Latents latents = model.model.downscale_with_latents(image, result, options);
        for (std::size_t i = 0; i < latents.size(); ++i)
            std::copy(latents[i].values.begin(), latents[i].values.end(), given.latents[i]);
    }
    write_report(report, given);
}

std::vector<hcflow::DeviceTensor> tensors(const hcflow_device_tensor* given, std::size_t count,
                                          const char* what) {
    if (count > 0) not_null(given, what);
    std::vector<hcflow::DeviceTensor> all;
    for (std::size_t i = 0; i < count; ++i) {
        not_null(given[i].name, "the name of a device tensor");
        not_null(given[i].shape, "the shape of a device tensor");
        if (given[i].axes > 8)
            throw_error(ErrorCode::parameter, "'", given[i].name, "' has ", given[i].axes,
                        " axes: at most 8");
        all.push_back(
            {given[i].name, {given[i].shape, given[i].shape + given[i].axes}, given[i].address});
    }
    return all;
}

}  // namespace

extern "C" {

void hcflow_image_init(hcflow_image* image, size_t struct_size) {
    fill(image, struct_size, {sizeof *image, nullptr, 0, 0, 0, 3, HCFLOW_U8});
}

void hcflow_options_init(hcflow_options* options, size_t struct_size) {
    fill(options, struct_size, {sizeof *options, nullptr, nullptr, HCFLOW_FP32, 0, 0});
}

void hcflow_run_options_init(hcflow_run_options* options, size_t struct_size) {
    fill(options, struct_size,
         {sizeof *options, -1, 0, 0, 0, 0, 0, nullptr, 0, nullptr, nullptr, nullptr, nullptr,
          nullptr, nullptr});
}

hcflow_status hcflow_open(const char* path, const hcflow_options* options, hcflow_model** model) {
    return guarded([&] {
        not_null(model, "model");
        *model = nullptr;
        not_null(path, "path");
        const hcflow_options given = grown(options, hcflow_options_init, "options");
        hcflow::Options wanted;
        if (given.backend != nullptr) wanted.backend = given.backend;
        if (given.cache != nullptr) wanted.cache = given.cache;
        wanted.precision = static_cast<hcflow::Precision>(given.precision);
        wanted.threads = given.threads;
        wanted.gpu = given.gpu;
        hcflow::Model opened = hcflow::Model::load(path, wanted);
        hcflow::Latents levels = opened.latent_shapes({1, 1});
        *model = new hcflow_model{std::move(opened), std::move(levels)};
    });
}

void hcflow_close(hcflow_model* model) { delete model; }

size_t hcflow_scale(const hcflow_model* model) {
    return model != nullptr ? model->model.scale() : 0;
}

double hcflow_default_tau(const hcflow_model* model) {
    return model != nullptr ? model->model.default_tau() : 0;
}

const char* hcflow_name(const hcflow_model* model) {
    return model != nullptr ? model->model.name().c_str() : "";
}

const char* hcflow_backend(const hcflow_model* model) {
    return model != nullptr ? model->model.backend().c_str() : "";
}

int32_t hcflow_gpu(const hcflow_model* model) { return model != nullptr ? model->model.gpu() : -1; }

size_t hcflow_latent_count(const hcflow_model* model) {
    return model != nullptr ? model->levels.size() : 0;
}

hcflow_status hcflow_latent_shape(const hcflow_model* model, size_t level, size_t lr_width,
                                  size_t lr_height, size_t shape[3]) {
    return guarded([&] {
        not_null(model, "model");
        not_null(shape, "shape");
        if (level < 1 || level > model->levels.size())
            throw_error(ErrorCode::parameter, "level is ", level, ": it must be from 1 to ",
                        model->levels.size());
        const hcflow::Latent z = model->model.latent_shapes({lr_width, lr_height})[level - 1];
        shape[0] = z.channels;
        shape[1] = z.height;
        shape[2] = z.width;
    });
}

hcflow_status hcflow_upscale(const hcflow_model* model, const hcflow_image* image,
                             const hcflow_image* result, const hcflow_run_options* options) {
    return guarded([&] {
        not_null(model, "model");
        upscale(*model, view(image, "image"), view(result, "result"),
                grown(options, hcflow_run_options_init, "run_options"));
    });
}

hcflow_status hcflow_downscale(const hcflow_model* model, const hcflow_image* image,
                               const hcflow_image* result, const hcflow_run_options* options) {
    return guarded([&] {
        not_null(model, "model");
        downscale(*model, view(image, "image"), view(result, "result"),
                  grown(options, hcflow_run_options_init, "run_options"));
    });
}

hcflow_status hcflow_enqueue(const hcflow_model* model, int32_t upscale,
                             const hcflow_device_tensor* inputs, size_t inputs_count,
                             const hcflow_device_tensor* outputs, size_t outputs_count,
                             void* stream) {
    return guarded([&] {
        not_null(model, "model");
        const auto in = tensors(inputs, inputs_count, "inputs"),
                   out = tensors(outputs, outputs_count, "outputs");
        if (upscale != 0)
            model->model.enqueue_upscale(in, out, stream);
        else
            model->model.enqueue_downscale(in, out, stream);
    });
}

const char* hcflow_last_error(void) { return hcflow::last_error.data(); }

const char* hcflow_backends(void) {
    const char* names = "";
    (void)guarded([&] {
        static const std::string all = hcflow::join(hcflow::backends(), " ");
        names = all.c_str();
    });
    return names;
}

size_t hcflow_gpu_count(void) {
    size_t count = 0;
    (void)guarded([&] { count = hcflow::gpus().size(); });
    return count;
}

hcflow_status hcflow_gpu_name(int32_t gpu, char* name, size_t size) {
    return guarded([&] {
        not_null(name, "name");
        const std::vector<std::string> all = hcflow::gpus();
        if (gpu < 0 || static_cast<size_t>(gpu) >= all.size())
            throw_error(ErrorCode::parameter, "there is no GPU number ", gpu, " (", all.size(),
                        " found)");
        if (size == 0) throw_error(ErrorCode::parameter, "size is 0: give 256");
        const std::string& found = all[static_cast<size_t>(gpu)];
        const size_t length = std::min(found.size(), size - 1);
        std::memcpy(name, found.data(), length);
        name[length] = '\0';
    });
}

const char* hcflow_version(void) { return hcflow::version(); }

}  // extern "C"
