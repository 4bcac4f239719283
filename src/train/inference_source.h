/* One face for the file formats that a trained model or its weights are read from. */
#ifndef LK_TRAIN_INFERENCE_SOURCE_H
#define LK_TRAIN_INFERENCE_SOURCE_H

#include "io/model/onnx.h"
#include "io/model/safetensors.h"
#include "io/model/torch_file.h"
#include "train/inference_file.h"

typedef struct lk_model_source {
    const char *path; /* borrowed */
    lk_model_format format;
    lk_checkpoint *checkpoint;
    lk_safetensors *safetensors;
    lk_onnx *onnx;
    lk_torch_file *torch;
} lk_model_source;

/* Owner: the caller, with lk_model_source_close, on failure too. Errors: LK_ERR_IO, LK_ERR_DATA, LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_model_source_open(lk_model_source *out, const char *path, lk_error *err);
void lk_model_source_close(lk_model_source *source);

/* A text ("meta", "golden") or NULL. Borrowed. */
const char *lk_model_source_text(const lk_model_source *source, const char *name);
/* Number of the model's tensors in the file. */
int lk_model_source_count(const lk_model_source *source);
/* The model's tensor i: name as in the state_dict, dtype, shape. Borrowed. */
lk_named_tensor lk_model_source_get(const lk_model_source *source, int i);
/* Errors: LK_ERR_DATA: no tensor called `name`, or another dtype or shape than `wanted`. */
LK_MUST_CHECK lk_status lk_model_source_check(const lk_model_source *source, const char *name, const lk_tensor *wanted,
                                              lk_error *err);
/* Copies the tensor called `name` (state_dict name) into `into`, whose dtype is float32 or int64; float64 is rounded,
 * float16 and bfloat16 are widened.
 * Errors: LK_ERR_DATA: missing, or another dtype or shape; LK_ERR_IO; LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_model_source_read(const lk_model_source *source, const char *name, lk_tensor *into,
                                             lk_error *err);

#endif
