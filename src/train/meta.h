/* What travels with every checkpoint and export (P24), as JSON: the text "meta" of a checkpoint, __metadata__ of
 * safetensors, metadata_props of ONNX, and the .json file beside each. */
#ifndef LK_TRAIN_META_H
#define LK_TRAIN_META_H

#include "io/image/transform.h"
#include "train/decision.h"

typedef struct lk_meta {
    char *architecture; /* "resnet18": a name of lk_models */
    int class_count;
    char **class_names;       /* order frozen (P4) */
    lk_preprocess preprocess; /* colour order RGB (or grey), mean, std, resize and crop rule, input size */
    char *stored_rule;        /* what packing did to the training pixels, JSON, "" for nothing */
    char *program;            /* "lockstep 0.1.0" */
    uint64_t dataset_hash[2]; /* of the data set's index */
    double ema_decay;         /* of the moving average of weights that the file holds; 0: the weights themselves */
    int64_t *training_counts; /* samples of each class that trained, or NULL: not known (files of older programs) */
    lk_decision *decision;    /* NULL: none; `lockstep calibrate` makes one */
} lk_meta;

/* Owner of *json: the caller, with lk_free. Errors: LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_meta_write(char **json, const lk_meta *meta, lk_error *err);
/* Every field is checked: ranges, counts, unknown architecture. where: path for messages. Owner: the caller, with
 * lk_meta_free. Errors: LK_ERR_DATA naming the field; LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_meta_parse(lk_meta *out, const char *json, const char *where, lk_error *err);
/* Writes the JSON file beside a checkpoint or export: PATH.json, atomically (P24). Errors: LK_ERR_IO; LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_meta_write_beside(const char *path, const lk_meta *meta, lk_error *err);
void lk_meta_free(lk_meta *meta); /* frees the content, not the struct */

#endif
