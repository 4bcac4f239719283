/* A trained model in memory, from any of the three formats: checkpoint, safetensors, ONNX. No device takes part. */
#ifndef LK_TRAIN_INFERENCE_FILE_H
#define LK_TRAIN_INFERENCE_FILE_H

#include "io/model/checkpoint.h"
#include "nn/model.h"
#include "train/meta.h"

typedef enum lk_model_format {
    LK_MODEL_CHECKPOINT,
    LK_MODEL_SAFETENSORS,
    LK_MODEL_ONNX,
    LK_MODEL_TORCH /* .pth: names and tensors alone */
} lk_model_format;

typedef struct lk_model_file {
    lk_model_format format;
    lk_meta meta;
    char *meta_text;          /* the JSON as it was read */
    lk_graph *graph;          /* up to the logits */
    int tensor_count;         /* parameters and statistics in state_dict order; "conv1.weight" without a group */
    lk_named_tensor *tensors; /* float32; num_batches_tracked int64 scalars */
    int64_t golden_count;     /* P25; 0: the file carries none */
    uint8_t *golden_images;   /* count x H x W x C */
    float *golden_logits;     /* count x K */
    int64_t *golden_samples;  /* count: index in the data set */
    char *job, *arithmetic;   /* texts that a checkpoint carries beside the meta; NULL: none */
    bool pixels_input;        /* ONNX only: the graph takes uint8 pixels */
} lk_model_file;

/* Format by content (checkpoints) or by the name's ending (.safetensors, .onnx). Strict: every tensor of the
 * architecture with its shape, and no other. float64 tensors are rounded to float32. Owner: the caller, with
 * lk_model_file_free. Errors: LK_ERR_IO; LK_ERR_DATA naming the tensor; LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_model_file_open(lk_model_file *out, const char *path, lk_error *err);
void lk_model_file_free(lk_model_file *file); /* frees the content, not the struct */

/* Names and shapes that a graph's state_dict has, data NULL. Owner of the list and its names: the caller, with
 * lk_state_dict_free. Errors: LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_state_dict_list(lk_named_tensor **out, int *count, const lk_graph *graph, lk_error *err);
void lk_state_dict_free(lk_named_tensor *tensors, int count); /* with the data */

#endif
