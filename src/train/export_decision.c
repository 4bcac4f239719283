#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "train/export.h"

static lk_status write_meta(lk_model_file *file, lk_error *err) {
    char *text;
    LK_RETURN_IF(lk_meta_write(&text, &file->meta, err));
    lk_free(file->meta_text);
    file->meta_text = text;
    return LK_OK;
}

lk_status lk_model_file_set_decision(lk_model_file *file, const lk_decision *decision, lk_error *err) {
    lk_decision *copy;
    LK_RETURN_IF(lk_decision_copy(&copy, decision, err));
    lk_decision_free(file->meta.decision);
    lk_free(file->meta.decision);
    file->meta.decision = copy;
    return write_meta(file, err);
}

/* "fc.weight" of the graph's last layer. Borrowed. */
static lk_status find_last(float **out, const lk_model_file *file, const char *suffix, lk_error *err) {
    const lk_node *last = &file->graph->nodes[file->graph->logits];
    char name[256];
    snprintf(name, sizeof name, "%s.%s", last->name, suffix);
    for (int i = 0; last->op.kind == LK_OP_LINEAR && i < file->tensor_count; i++)
        if (strcmp(file->tensors[i].name, name) == 0) {
            *out = file->tensors[i].tensor.data;
            return LK_OK;
        }
    return lk_fail(err, LK_ERR_UNSUPPORTED, "%s does not end in a linear layer, so nothing can be folded into it",
                   file->meta.architecture);
}

/* Features of the last layer: its weight is classes x features. */
static int64_t count_features(const lk_model_file *file, const float *weight) {
    for (int i = 0; i < file->tensor_count; i++)
        if (file->tensors[i].tensor.data == weight) return lk_shape_count(&file->tensors[i].tensor.shape);
    return 0;
}

lk_status lk_model_file_fold_decision(lk_model_file *file, lk_error *err) {
    lk_decision *d = file->meta.decision;
    float *weight, *bias;
    if (d == NULL)
        return lk_fail(err, LK_ERR_CONFIG,
                       "the model has no decision layer: 'lockstep calibrate' writes a checkpoint with one");
    if (d->folded) return lk_fail(err, LK_ERR_CONFIG, "the decision layer is folded into the last layer already");
    LK_RETURN_IF(find_last(&weight, file, "weight", err));
    LK_RETURN_IF(find_last(&bias, file, "bias", err));
    int64_t count = count_features(file, weight);
    for (int64_t i = 0; i < count; i++) weight[i] = (float)((double)weight[i] / d->temperature);
    for (int k = 0; k < d->classes; k++) bias[k] = (float)((double)bias[k] / d->temperature + d->offsets[k]);
    if (file->golden_count > 0) lk_decision_apply(d, file->golden_logits, file->golden_count);
    d->folded = true;
    return write_meta(file, err);
}
