/* hcflow-embed: uses the library from C, on generated pixels.
 *
 *     hcflow-embed BUNDLE [BACKEND]
 */
#include <stdio.h>
#include <stdlib.h>

#include "hcflow/hcflow.h"

static int failed(const char* what) {
    fprintf(stderr, "hcflow-embed: %s: %s\n", what, hcflow_last_error());
    return 1;
}

int main(int argc, char** argv) {
    if (argc < 2) {
        fputs("usage: hcflow-embed BUNDLE [BACKEND]\n", stderr);
        return 2;
    }
    hcflow_options options;
    hcflow_options_init(&options, sizeof options);
    if (argc > 2) options.backend = argv[2];
    hcflow_model* model = NULL;
    if (hcflow_open(argv[1], &options, &model) != HCFLOW_OK) return failed("open");

    hcflow_image small, large;
    hcflow_image_init(&small, sizeof small);
    hcflow_image_init(&large, sizeof large);
    small.width = 24;
    small.height = 16;
    large.width = small.width * hcflow_scale(model);
    large.height = small.height * hcflow_scale(model);
    small.data = malloc(small.width * small.height * 3);
    large.data = malloc(large.width * large.height * 3);
    int status = 1;
    if (small.data == NULL || large.data == NULL) {
        fputs("hcflow-embed: out of memory\n", stderr);
        goto done;
    }
    for (size_t i = 0; i < small.width * small.height * 3; ++i)
        ((unsigned char*)small.data)[i] = (unsigned char)(i * 7 % 256);

    hcflow_run_options run;
    hcflow_run_options_init(&run, sizeof run);
    run.tau = 0;
    if (hcflow_upscale(model, &small, &large, &run) != HCFLOW_OK) {
        status = failed("upscale");
        goto done;
    }
    printf("%s on %s: %zux%zu to %zux%zu\n", hcflow_name(model), hcflow_backend(model), small.width,
           small.height, large.width, large.height);
    status = 0;
done:
    free(small.data);
    free(large.data);
    hcflow_close(model);
    return status;
}
