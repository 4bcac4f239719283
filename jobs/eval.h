/* A model's logits on a split, and what follows from them: shared by eval, calibrate and predict. */
#ifndef LK_JOBS_EVAL_H
#define LK_JOBS_EVAL_H

#include "io/data/dataset.h"
#include "train/inference.h"
#include "train/loss.h"
#include "train/metrics.h"

/* What was evaluated, and what came out. */
typedef struct lk_eval_result {
    const lk_meta *meta;       /* borrowed: class names */
    const lk_dataset *dataset; /* borrowed */
    lk_split split;
    const lk_decision *decision; /* applied to the logits, borrowed; NULL: none */
    lk_loss loss;
    int64_t count;      /* samples */
    int64_t *samples;   /* count: indices into the data set */
    int32_t *labels;    /* count: classes of the model */
    float *logits;      /* count x classes */
    double *losses;     /* count */
    int64_t *confusion; /* classes x classes */
    lk_metrics metrics;
} lk_eval_result;

void lk_eval_result_free(lk_eval_result *result); /* the content, not the struct */

/* map: class_count of the data set; map[k] becomes the model's class with the same name (P4). Owner of *map: the
 * caller, with lk_free. Errors: LK_ERR_DATA listing the names that the model does not know. */
LK_MUST_CHECK lk_status lk_eval_map_classes(int **map, const lk_dataset *dataset, const lk_meta *meta, lk_error *err);

/* Fills meta, dataset, samples, labels and loss for result->split, which is set; says on stderr where the data set was
 * stored by another rule than the model's. The loss is that of the job that the checkpoint carries, else cross-entropy.
 * Errors: LK_ERR_DATA for classes that the model does not know, an empty split, samples without a label. */
LK_MUST_CHECK lk_status lk_eval_prepare(lk_eval_result *result, const lk_meta *meta, const lk_dataset *dataset,
                                        const char *model_path, lk_error *err);
/* The logits of the samples. batch: what the model was opened with. workers: threads that decode. */
LK_MUST_CHECK lk_status lk_eval_compute(lk_eval_result *result, lk_inference *model, int64_t batch, int workers,
                                        lk_error *err);
/* The model's decision layer, borrowed. Errors: LK_ERR_CONFIG where it has none or is folded into the weights. */
LK_MUST_CHECK lk_status lk_eval_find_decision(const lk_decision **out, const lk_meta *meta, const char *path,
                                              lk_error *err);

/* Confusion matrix and losses from the logits, then the metrics.
 * Errors: LK_ERR_NUMERIC for logits that are not numbers, naming the first sample; LK_ERR_INTERNAL (P1). */
LK_MUST_CHECK lk_status lk_eval_count(lk_eval_result *result, lk_error *err);

/* Tables, or one JSON object. Errors: LK_ERR_MEMORY. */
void lk_eval_print(const lk_eval_result *result, FILE *out);
LK_MUST_CHECK lk_status lk_eval_print_json(const lk_eval_result *result, FILE *out, lk_error *err);

#endif
