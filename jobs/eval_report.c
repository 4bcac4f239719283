/* From logits to what eval prints. */
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "jobs/eval.h"
#include "train/meta_decision.h"

void lk_eval_result_free(lk_eval_result *result) {
    lk_free(result->samples);
    lk_free(result->labels);
    lk_free(result->logits);
    lk_loss_free(&result->loss);
    lk_free(result->losses);
    lk_free(result->confusion);
    lk_metrics_free(&result->metrics);
}

static int find_name(const lk_meta *meta, const char *name) {
    for (int k = 0; k < meta->class_count; k++)
        if (strcmp(meta->class_names[k], name) == 0) return k;
    return -1;
}

lk_status lk_eval_map_classes(int **map, const lk_dataset *dataset, const lk_meta *meta, lk_error *err) {
    lk_status status = LK_OK;
    char unknown[400] = "";
    size_t used = 0;
    int missing = 0;
    *map = NULL;
    LK_TRY(LK_NEW(map, dataset->class_count, "classes", err));
    for (int k = 0; k < dataset->class_count; k++) {
        (*map)[k] = find_name(meta, dataset->class_names[k]);
        if ((*map)[k] >= 0) continue;
        if (used < sizeof unknown - 120)
            used += (size_t)snprintf(unknown + used, sizeof unknown - used, "%s'%.100s'", missing == 0 ? "" : ", ",
                                     dataset->class_names[k]);
        missing++;
    }
    if (missing > 0)
        status = lk_fail(err, LK_ERR_DATA, "%s has %d class(es) that the model does not know: %s%s", dataset->path,
                         missing, unknown, used >= sizeof unknown - 120 ? ", ..." : "");
out:
    if (status != LK_OK) {
        lk_free(*map);
        *map = NULL;
    }
    return status;
}

lk_status lk_eval_count(lk_eval_result *result, lk_error *err) {
    lk_status status = LK_OK;
    int classes = result->meta->class_count;
    double *logits = NULL, *counts = NULL;
    LK_TRY(LK_NEW(&logits, classes, "logits", err));
    LK_TRY(LK_NEW(&result->confusion, (int64_t)classes * classes, "the confusion matrix", err));
    if (result->loss.config.f1 > 0) LK_TRY(LK_NEW(&counts, 3 * (int64_t)classes, "soft counts", err));
    LK_TRY(LK_NEW(&result->losses, result->count, "losses", err));
    for (int64_t i = 0; i < result->count; i++) {
        /* As in training, the prediction is that of the float32 logits that are stored. */
        for (int k = 0; k < classes; k++) logits[k] = result->logits[i * classes + k];
        lk_loss_label label = {result->labels[i], result->labels[i], 1};
        result->losses[i] = lk_loss_value(&result->loss.config, classes, logits, label, 1);
        if (counts != NULL) lk_f1_count(classes, logits, label, counts);
        if (!isfinite(result->losses[i])) {
            status = lk_fail(err, LK_ERR_NUMERIC, "the logits of '%s' are not numbers: the checkpoint is not usable",
                             result->dataset->sources[result->samples[i]]);
            goto out;
        }
        result->confusion[(int64_t)result->labels[i] * classes + lk_argmax(logits, classes)]++;
    }
    LK_TRY(lk_metrics_compute(&result->metrics, result->confusion, classes, result->losses, result->count, err));
    result->metrics.loss = lk_loss_of_split(&result->loss.config, &result->metrics, counts);
out:
    lk_free(logits);
    lk_free(counts);
    return status;
}

void lk_eval_print(const lk_eval_result *result, FILE *out) {
    const char *const *names = (const char *const *)result->meta->class_names;
    fprintf(out, "%s, split '%s': %" PRId64 " samples", result->dataset->path, lk_split_name(result->split),
            result->count);
    char loss[4096];
    if (!lk_loss_is_plain(&result->loss))
        fprintf(out, "\nloss: %s", lk_loss_print(&result->loss, names, loss, sizeof loss));
    if (result->decision != NULL)
        fprintf(out, "\ndecision layer: %s", lk_decision_print(result->decision, loss, sizeof loss));
    fputs("\n\n", out);
    lk_metrics_print(&result->metrics, names, out);
    fputc('\n', out);
    lk_confusion_print(result->confusion, names, result->meta->class_count, out);
}

static json_t *classes_json(const lk_eval_result *result) {
    json_t *list = json_array();
    for (int k = 0; k < result->meta->class_count; k++) {
        const lk_class_metrics *m = &result->metrics.per_class[k];
        json_array_append_new(list, json_pack("{s:s, s:I, s:I, s:f, s:f, s:f}", "name", result->meta->class_names[k],
                                              "support", (json_int_t)m->support, "predicted", (json_int_t)m->predicted,
                                              "precision", m->precision, "recall", m->recall, "f1", m->f1));
    }
    return list;
}

static json_t *confusion_json(const lk_eval_result *result) {
    json_t *rows = json_array();
    int classes = result->meta->class_count;
    for (int k = 0; k < classes; k++) {
        json_t *row = json_array();
        for (int j = 0; j < classes; j++)
            json_array_append_new(row, json_integer(result->confusion[(int64_t)k * classes + j]));
        json_array_append_new(rows, row);
    }
    return rows;
}

lk_status lk_eval_print_json(const lk_eval_result *result, FILE *out, lk_error *err) {
    const lk_metrics *m = &result->metrics;
    json_t *root = json_pack("{s:s, s:s, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:o, s:o}", "data", result->dataset->path,
                             "split", lk_split_name(result->split), "samples", (json_int_t)m->samples, "loss", m->loss,
                             "smoothing", result->loss.config.smoothing, "accuracy", m->accuracy, "balanced_accuracy",
                             m->balanced_accuracy, "macro_f1", m->macro_f1, "macro_f1_all", m->macro_f1_all, "classes",
                             classes_json(result), "confusion", confusion_json(result));
    if (root != NULL && result->decision != NULL)
        json_object_set_new(root, "decision", lk_meta_describe_decision(result->decision));
    char *text = root == NULL ? NULL : json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    json_decref(root);
    if (text == NULL) return lk_fail(err, LK_ERR_MEMORY, "cannot write the metrics as JSON: out of memory");
    fprintf(out, "%s\n", text);
    free(text);
    return LK_OK;
}
