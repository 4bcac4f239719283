/* The loader alone: loader_bench DATA CORES exact|scaled. Reads lines "COUNT" from standard input and prints the
 * seconds that COUNT training samples took, RandomResizedCrop 224 and flip, as uint8 batches of 64. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/memory.h"
#include "io/data/loader.h"

enum { BATCH = 64 };

typedef struct bench {
    lk_dataset *dataset;
    lk_loader *loader;
    int64_t *samples;
    int64_t count;
} bench;

static lk_status open_bench(bench *b, const char *path, int cores, bool scaled, lk_error *err) {
    lk_loader_config config = {.workers = cores,
                               .prefetch = 4,
                               .microbatch = BATCH,
                               .preprocess = {.channels = 3,
                                              .height = 224,
                                              .width = 224,
                                              .resize = LK_RESIZE_SHORT_SIDE,
                                              .resize_size = 256,
                                              .interpolation = LK_BILINEAR,
                                              .scaled_decode = scaled,
                                              .std = {1, 1, 1, 1}}};
    LK_RETURN_IF(lk_dataset_open(&b->dataset, path, err));
    LK_RETURN_IF(lk_dataset_split(b->dataset, LK_SPLIT_TRAIN, &b->samples, &b->count, err));
    return lk_loader_create(&b->loader, b->dataset, &config, err);
}

/* One pass over `count` samples, in an order that jumps through the file as a shuffled one does. */
static lk_status load(bench *b, int64_t count, uint32_t epoch, lk_error *err) {
    const lk_augment augment = {.crop = LK_CROP_RANDOM_RESIZED,
                                .scale_min = 0.08,
                                .scale_max = 1,
                                .ratio_min = 3.0 / 4,
                                .ratio_max = 4.0 / 3,
                                .hflip = 0.5};
    lk_status status;
    int64_t *order = NULL;
    LK_TRY(LK_NEW(&order, count, "the order", err));
    for (int64_t i = 0; i < count; i++) order[i] = b->samples[(i * 1009 + epoch * 131) % b->count];
    for (int64_t first = 0; first < count; first += BATCH) {
        lk_load_request request = {.rows = count - first < BATCH ? count - first : BATCH,
                                   .samples = order + first,
                                   .first_position = first,
                                   .epoch = epoch};
        LK_TRY(lk_loader_submit(b->loader, &request, 1, &augment, 1, err));
    }
    for (int64_t first = 0; first < count; first += BATCH) {
        lk_microbatch batch;
        LK_TRY(lk_loader_next(b->loader, &batch, err));
        lk_loader_release(b->loader, &batch);
    }
out:
    lk_free(order);
    return status;
}

int main(int argc, char **argv) {
    bench b = {0};
    lk_error err = {0};
    if (argc != 4) return 2;
    lk_status status = open_bench(&b, argv[1], atoi(argv[2]), strcmp(argv[3], "scaled") == 0, &err);
    char line[32];
    for (uint32_t epoch = 0; status == LK_OK && fgets(line, sizeof line, stdin) != NULL; epoch++) {
        double started = lk_clock_seconds();
        status = load(&b, strtoll(line, NULL, 10), epoch, &err);
        printf("%.6f\n", lk_clock_seconds() - started);
        fflush(stdout);
    }
    lk_loader_free(b.loader);
    lk_free(b.samples);
    lk_dataset_free(b.dataset);
    if (status != LK_OK) fprintf(stderr, "%s\n", err.message);
    return status == LK_OK ? 0 : 1;
}
