/** The C interface of hcflow.
 *
 * Every function that can fail returns an hcflow_status. After an error, hcflow_last_error() in the
 * same thread says what is wrong, where, and what to do. No C++ exception leaves a function.
 * Structures begin with their size, so that later versions can append members: fill them with their
 * _init function, as in hcflow_image_init(&image, sizeof image).
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
    HCFLOW_ERROR_PARAMETER = 1, /**< an argument is null or out of range */
    HCFLOW_ERROR_BUNDLE = 2,    /**< a bundle is missing, damaged, too new or incomplete */
    HCFLOW_ERROR_IMAGE = 3,     /**< an image is invalid or does not fit into memory */
    HCFLOW_ERROR_BACKEND = 4,   /**< a backend is not compiled in, failed, or returned NaN */
    HCFLOW_ERROR_MEMORY = 5,    /**< an allocation failed */
    HCFLOW_ERROR_INTERNAL = 6,  /**< anything else: a bug of this library */
    HCFLOW_CANCELLED = 7        /**< the caller's cancel function ended the call */
} hcflow_status;

/** Type of one channel: 0 … 255, 0 … 65535, float in [0, 1]. */
enum { HCFLOW_U8 = 1, HCFLOW_U16 = 2, HCFLOW_F32 = 4 };

/** HCFLOW_AUTO: fp32 or int8 for each image, whichever is faster and within its error budget; on a
 *  GPU fp16 or fp8, if there are engines of it. */
enum { HCFLOW_FP32 = 0, HCFLOW_FP16 = 1, HCFLOW_INT8 = 2, HCFLOW_AUTO = 3, HCFLOW_FP8 = 4 };

/** As an overlap: the graph's own. */
#define HCFLOW_OWN_OVERLAP ((size_t)-1)

/** An open bundle; may be used from many threads at once. */
typedef struct hcflow_model hcflow_model;

/** The caller's interleaved pixels. channels: 1 gray, 2 gray and alpha, 3 RGB, 4 RGB and alpha.
 *  stride: bytes from row to row, at least a row; 0: rows without gaps. Inputs are only read.
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
                              can run the bundle on this machine */
    const char* cache;   /**< folder for compiled graphs; null: none are kept */
    int32_t precision;   /**< HCFLOW_FP32 */
    int32_t threads;     /**< 0 to 1024; 0: one per processor of this process */
    int32_t gpu;         /**< number of the GPU, for GPU backends: hcflow_gpu_name; 0 */
} hcflow_options;

/** A tensor in GPU memory: float32, contiguous. */
typedef struct hcflow_device_tensor {
    const char* name;    /**< "lr", "hr", "z1" …: docs/graph-contract.md */
    const size_t* shape; /**< N, channels, height, width */
    size_t axes;         /**< length of shape */
    void* address;       /**< device pointer */
} hcflow_device_tensor;

/** Returns nonzero once the call that asks is to end. It must return: no longjmp, no exception. */
typedef int32_t (*hcflow_cancel)(void* user);

typedef struct hcflow_run_options {
    size_t struct_size;
    double tau;              /**< temperature; below 0: the model's default */
    uint64_t seed;           /**< 0 */
    uint32_t sample;         /**< number of the seed's sample */
    int32_t own_grid;        /**< nonzero: use tile and overlap below, not the graph's own */
    size_t tile;             /**< side of a tile, LR pixels; 0: do not tile */
    size_t overlap;          /**< on each side of a tile, LR pixels, or HCFLOW_OWN_OVERLAP */
    float* const* latents;   /**< upscale: read, not drawn; downscale: written. z1 … zL with
                                  the shapes of hcflow_latent_shape; null: none */
    size_t latents_count;    /**< number of pointers: hcflow_latent_count */
    size_t* healed;          /**< written if not null: number of tiles with invalid output that
                                  were computed again, in fp32 or at tau = 0 */
    size_t* tile_used;       /**< written if not null: side of the tiles, LR pixels; smaller than
                                  asked for if memory is short */
    float* disagreement;     /**< written if not null: largest difference of two neighbouring tiles
                                  beside their seam, in [0, 1]; -1: no tiles were compared */
    int32_t* precision_used; /**< written if not null: precision of the graph that ran */
    hcflow_cancel cancel;    /**< asked at least before every tile, in the thread of the call, with
                                  cancel_user; null: never cancelled */
    void* cancel_user;
} hcflow_run_options;

/** Fill a structure with defaults. struct_size: its sizeof in the caller's code. */
HCFLOW_API void hcflow_image_init(hcflow_image* image, size_t struct_size);
HCFLOW_API void hcflow_options_init(hcflow_options* options, size_t struct_size);
HCFLOW_API void hcflow_run_options_init(hcflow_run_options* options, size_t struct_size);

/** Open a bundle. options may be null. *model is null after an error. */
HCFLOW_API hcflow_status hcflow_open(const char* path, const hcflow_options* options,
                                     hcflow_model** model);
/** Close a model; null is allowed. No other call may use it at the same time. */
HCFLOW_API void hcflow_close(hcflow_model* model);

/** HR size / LR size; 0 for null. */
HCFLOW_API size_t hcflow_scale(const hcflow_model* model);
/** The default temperature; 0 for null. */
HCFLOW_API double hcflow_default_tau(const hcflow_model* model);
/** The bundle's name, valid until the model is closed; "" for null. */
HCFLOW_API const char* hcflow_name(const hcflow_model* model);
/** The backend in use, valid until the model is closed; "" for null. */
HCFLOW_API const char* hcflow_backend(const hcflow_model* model);

/** The number of the GPU in use; -1: the backend does not run on a GPU, or null. */
HCFLOW_API int32_t hcflow_gpu(const hcflow_model* model);

/** Number of latents; 0 for null. */
HCFLOW_API size_t hcflow_latent_count(const hcflow_model* model);
/** Channels, height and width of latent z`level` (1: the finest) for an LR image. */
HCFLOW_API hcflow_status hcflow_latent_shape(const hcflow_model* model, size_t level,
                                             size_t lr_width, size_t lr_height, size_t shape[3]);

/** Upscale into the caller's pixels. The result's sides are scale x the input's, or up to scale - 1
 *  smaller; it has the input's channels and any type. options may be null. After an error, or
 *  HCFLOW_CANCELLED, the result's pixels and the latents are undefined. */
HCFLOW_API hcflow_status hcflow_upscale(const hcflow_model* model, const hcflow_image* image,
                                        const hcflow_image* result,
                                        const hcflow_run_options* options);
/** Downscale; the result's sides are the input's / scale, rounded up. */
HCFLOW_API hcflow_status hcflow_downscale(const hcflow_model* model, const hcflow_image* image,
                                          const hcflow_image* result,
                                          const hcflow_run_options* options);

/** Enqueue a run on GPU memory in a CUDA stream of the caller's, and return at once. The stream and
 *  the tensors are on the model's GPU; the stream is not the default one, and not being captured.
 * upscale nonzero: lr and, for tau > 0, z1 … zL to hr; zero: hr to every output of the graph. For
 * the backends tensorrt and tensorrt-rtx. No tensor may change until the run is complete. */
HCFLOW_API hcflow_status hcflow_enqueue(const hcflow_model* model, int32_t upscale,
                                        const hcflow_device_tensor* inputs, size_t inputs_count,
                                        const hcflow_device_tensor* outputs, size_t outputs_count,
                                        void* stream);

/** The error of this thread's last failed call, one line, valid until the thread's next call. */
HCFLOW_API const char* hcflow_last_error(void);
/** The backends compiled in, best first, separated by spaces; "" if out of memory. */
HCFLOW_API const char* hcflow_backends(void);
/** Number of GPUs that the NVIDIA driver finds; 0: no driver, or no GPU backend compiled in. */
HCFLOW_API size_t hcflow_gpu_count(void);
/** Writes a GPU's name, "NVIDIA L4 (compute capability 8.9)", cut to size - 1 bytes and a zero. */
HCFLOW_API hcflow_status hcflow_gpu_name(int32_t gpu, char* name, size_t size);
/** "0.1.0" */
HCFLOW_API const char* hcflow_version(void);

#ifdef __cplusplus
}
#endif

#endif
