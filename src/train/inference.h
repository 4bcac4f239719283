/* A trained model from a file, compiled for evaluation: what eval, predict, verify and convert share. */
#ifndef LK_TRAIN_INFERENCE_H
#define LK_TRAIN_INFERENCE_H

#include "nn/plan.h"
#include "train/meta.h"

typedef struct lk_inference lk_inference;

typedef struct lk_inference_options {
    const char *device; /* as lk_device_create */
    int64_t batch;      /* samples of one forward pass: part of what is computed, fixed by the caller */
    lk_dtype compute;   /* LK_F32 unless asked otherwise */
    int threads;        /* arithmetic threads; 0 means 1 */
} lk_inference_options;

/* Opens a checkpoint (.h5), .safetensors or .onnx written by convert. Owner: the caller, with lk_inference_free.
 * Errors: LK_ERR_DATA (missing or extra tensors, shapes that do not fit the architecture), LK_ERR_IO, and those of
 * lk_plan_create. */
LK_MUST_CHECK lk_status lk_inference_open(lk_inference **out, const char *path, const lk_inference_options *options,
                                          lk_error *err);
struct lk_model_file;
/* The same from a model in memory, which stays the caller's and must outlive the result. Errors: those of
 * lk_plan_create. */
LK_MUST_CHECK lk_status lk_inference_borrow(lk_inference **out, struct lk_model_file *file,
                                            const lk_inference_options *options, lk_error *err);
void lk_inference_free(lk_inference *inference);

const lk_meta *lk_inference_get_meta(const lk_inference *inference);   /* borrowed */
const lk_graph *lk_inference_get_graph(const lk_inference *inference); /* borrowed */

/* images: rows x H x W x C preprocessed uint8, rows <= batch (padded inside). logits: rows x classes. */
LK_MUST_CHECK lk_status lk_inference_run(lk_inference *inference, const uint8_t *images, int64_t rows, double *logits,
                                         lk_error *err);

/* The golden samples the file carries (P25), borrowed: count x H x W x C uint8 and count x K float32. count 0: none. */
typedef struct lk_golden {
    int64_t count;
    const uint8_t *images;
    const float *logits;
} lk_golden;
void lk_inference_get_golden(const lk_inference *inference, lk_golden *golden);

#endif
