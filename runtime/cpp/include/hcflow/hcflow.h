/** hcflow from C, and from whatever calls C.
 *
 * Every function that can fail returns an hcflow_status; hcflow_last_error() then tells, in the
 * same thread, what was wrong, where, and what to do. No exception crosses. Structures begin with
 * their size, so that later versions can add to their ends: fill them with their _init function,
 * hcflow_image_init(&image, sizeof image).
 */
#ifndef HCFLOW_H
#define HCFLOW_H

#include <stddef.h>
#include <stdint.h>

#include "hcflow/api.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum hcflow_status {
    HCFLOW_OK = 0,
    HCFLOW_ERROR_PARAMETER = 1, /**< an argument is null or out of its range */
    HCFLOW_ERROR_BUNDLE = 2,    /**< a bundle is missing, damaged, too new, or lacks something */
    HCFLOW_ERROR_IMAGE = 3,     /**< an image cannot be used, or would not fit into memory */
    HCFLOW_ERROR_BACKEND = 4,   /**< a backend is not compiled in, failed, or gave NaN */
    HCFLOW_ERROR_MEMORY = 5,    /**< an allocation failed */
    HCFLOW_ERROR_INTERNAL = 6   /**< anything else: a fault of this library */
} hcflow_status;

/** Type of one channel: 0 … 255, 0 … 65535, float in [0, 1]. */
enum { HCFLOW_U8 = 1, HCFLOW_U16 = 2, HCFLOW_F32 = 4 };

/** HCFLOW_AUTO: for each image fp32 or int8, whichever takes less time, within its budget. */
enum { HCFLOW_FP32 = 0, HCFLOW_FP16 = 1, HCFLOW_INT8 = 2, HCFLOW_AUTO = 3 };

/** As an overlap: the one that the graph states. */
#define HCFLOW_OWN_OVERLAP ((size_t)-1)

/** An open bundle; may be used from many threads at once. */
typedef struct hcflow_model hcflow_model;

/** Interleaved pixels of the caller's. channels: 1 gray, 2 gray and alpha, 3 RGB, 4 RGB and alpha.
 *  stride: bytes from row to row, at least a row; 0 means rows without gaps. Inputs are only read.
 */
typedef struct hcflow_image {
    size_t struct_size;
    void* data;
    size_t width;
    size_t height;
    size_t stride;
    int32_t channels;
    int32_t type;
} hcflow_image;

typedef struct hcflow_options {
    size_t struct_size;
    const char* backend; /**< null or "auto": the first of hcflow_backends() that
                              can run the bundle here */
    const char* cache;   /**< folder for compiled graphs; null: none */
    int32_t precision;   /**< HCFLOW_FP32 */
    int32_t threads;     /**< 0 to 1024; 0: every processor this process may use */
    int32_t gpu;         /**< 0: number of the GPU, for backends that run on one */
} hcflow_options;

/** A tensor in GPU memory: float32, contiguous. */
typedef struct hcflow_device_tensor {
    const char* name;    /**< "lr", "hr", "z1" …: docs/graph-contract.md */
    const size_t* shape; /**< N, channels, height, width */
    size_t axes;         /**< numbers in shape */
    void* address;       /**< device pointer */
} hcflow_device_tensor;

typedef struct hcflow_run_options {
    size_t struct_size;
    double tau;            /**< temperature; below 0: the model's default */
    uint64_t seed;         /**< 0 */
    uint32_t sample;       /**< which of the seed's pictures */
    int32_t own_grid;      /**< nonzero: tile and overlap below in place of the graph's own */
    size_t tile;           /**< side of a tile, LR pixels; 0: the image whole */
    size_t overlap;        /**< beyond it on each side, LR pixels, or HCFLOW_OWN_OVERLAP */
    float* const* latents; /**< upscale: read, in place of drawn ones; downscale: written. z1 … zL
                                as hcflow_latent_shape says; null: none */
    size_t latents_count;  /**< number of pointers: hcflow_latent_count */
    size_t* healed;        /**< written if not null: tiles that gave no picture at first and were
                                computed again, in fp32 or at tau = 0 */
    size_t* tile_used;     /**< written if not null: side of the tiles, LR pixels; less than was to
                                be where memory was short */
    float* disagreement;   /**< written if not null: largest difference of two neighbouring tiles
                                beside their seam, of images in [0, 1]; -1: none were compared */
    int32_t* precision_used; /**< written if not null: HCFLOW_FP32 … of the graph that ran */
} hcflow_run_options;

/** Defaults, as far as the caller's structure goes: struct_size is sizeof of it where it is
 * compiled. */
HCFLOW_API void hcflow_image_init(hcflow_image* image, size_t struct_size);
HCFLOW_API void hcflow_options_init(hcflow_options* options, size_t struct_size);
HCFLOW_API void hcflow_run_options_init(hcflow_run_options* options, size_t struct_size);

/** Open a bundle; options may be null. *model is null after an error. */
HCFLOW_API hcflow_status hcflow_open(const char* path, const hcflow_options* options,
                                     hcflow_model** model);
/** Close it; null is allowed. No other call on it may be under way. */
HCFLOW_API void hcflow_close(hcflow_model* model);

/** HR size / LR size; 0 for null. */
HCFLOW_API size_t hcflow_scale(const hcflow_model* model);
/** The temperature used when none is given; 0 for null. */
HCFLOW_API double hcflow_default_tau(const hcflow_model* model);
/** The bundle's name, valid until it is closed; "" for null. */
HCFLOW_API const char* hcflow_name(const hcflow_model* model);
/** The backend in use, valid until the model is closed; "" for null. */
HCFLOW_API const char* hcflow_backend(const hcflow_model* model);

/** Number of latents; 0 for null. */
HCFLOW_API size_t hcflow_latent_count(const hcflow_model* model);
/** Channels, height and width of z`level` (1 is the finest) for an LR image. */
HCFLOW_API hcflow_status hcflow_latent_shape(const hcflow_model* model, size_t level,
                                             size_t lr_width, size_t lr_height, size_t shape[3]);

/** Upscale into the caller's pixels: their size is scale x the input's, or at most scale - 1 less;
 *  channels as the input's, any type. options may be null. */
HCFLOW_API hcflow_status hcflow_upscale(const hcflow_model* model, const hcflow_image* image,
                                        const hcflow_image* result,
                                        const hcflow_run_options* options);
/** Downscale; the result's sides are the input's / scale, rounded up. */
HCFLOW_API hcflow_status hcflow_downscale(const hcflow_model* model, const hcflow_image* image,
                                          const hcflow_image* result,
                                          const hcflow_run_options* options);

/** Put a run on GPU memory into a CUDA stream of the caller's and return at once: upscale (lr and,
 *  for tau > 0, z1 … zL to hr) or, for 0, downscale (hr to every output of the graph). For the
 *  backends tensorrt and tensorrt-rtx; the stream is not the default one. All tensors must stay as
 *  they are until the stream has come past the run. */
HCFLOW_API hcflow_status hcflow_enqueue(const hcflow_model* model, int32_t upscale,
                                        const hcflow_device_tensor* inputs, size_t inputs_count,
                                        const hcflow_device_tensor* outputs, size_t outputs_count,
                                        void* stream);

/** What went wrong in this thread's last failed call, one line, valid until its next call. */
HCFLOW_API const char* hcflow_last_error(void);
/** The backends compiled in, best first, separated by spaces; "" where memory is short. */
HCFLOW_API const char* hcflow_backends(void);
/** "0.1.0" */
HCFLOW_API const char* hcflow_version(void);

#ifdef __cplusplus
}
#endif

#endif
