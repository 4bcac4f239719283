/* What `lockstep kfold` prints. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "io/data/folds.h"
#include "jobs/kfold.h"

static lk_status write_json(json_t *root, FILE *out, lk_error *err) {
    char *text = json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    if (text == NULL) return lk_fail(err, LK_ERR_MEMORY, "cannot write the folds as JSON");
    fprintf(out, "%s\n", text);
    free(text);
    return LK_OK;
}

static void list_text(const lk_dataset *dataset, const int64_t *counts, int folds, FILE *out) {
    fprintf(out, "%-20s", "class");
    for (int k = 1; k <= folds; k++) fprintf(out, "  fold %-4d", k);
    fputc('\n', out);
    for (int c = 0; c < dataset->class_count; c++) {
        fprintf(out, "%-20s", dataset->class_names[c]);
        for (int k = 0; k < folds; k++) fprintf(out, "  %9lld", (long long)counts[k * dataset->class_count + c]);
        fputc('\n', out);
    }
}

static lk_status list_json(const lk_dataset *dataset, const int32_t *fold, int folds, FILE *out, lk_error *err) {
    json_t *root = json_pack("{s:i, s:[]}", "folds", folds, "samples"), *samples = json_object_get(root, "samples");
    for (int64_t i = 0; i < dataset->count; i++) {
        if (fold[i] == 0) continue;
        int32_t group = dataset->samples[i].group;
        json_t *line = json_pack("{s:s, s:s, s:i}", "source", dataset->sources[i], "class",
                                 dataset->class_names[dataset->samples[i].label], "fold", (int)fold[i]);
        if (group >= 0) json_object_set_new(line, "group", json_string(dataset->group_names[group]));
        json_array_append_new(samples, line);
    }
    lk_status status = write_json(root, out, err);
    json_decref(root);
    return status;
}

lk_status lk_kfold_list(const lk_job *job, int folds, bool json, FILE *out, lk_error *err) {
    lk_status status = LK_OK;
    lk_dataset *dataset = NULL;
    int32_t *fold = NULL;
    int64_t *counts = NULL;
    LK_TRY(lk_dataset_open(&dataset, job->data, err));
    LK_TRY(LK_NEW(&fold, dataset->count, "the folds", err));
    LK_TRY(LK_NEW(&counts, (int64_t)folds * dataset->class_count, "the folds", err));
    LK_TRY(lk_folds_assign(fold, dataset, folds, (uint64_t)job->fold_seed, err));
    for (int64_t i = 0; i < dataset->count; i++)
        if (fold[i] > 0) counts[(fold[i] - 1) * dataset->class_count + dataset->samples[i].label]++;
    if (json)
        LK_TRY(list_json(dataset, fold, folds, out, err));
    else
        list_text(dataset, counts, folds, out);
out:
    lk_free(fold);
    lk_free(counts);
    lk_dataset_free(dataset);
    return status;
}

typedef struct spread {
    double mean, deviation;
} spread;

static spread spread_of(const double *values, int count) {
    spread s = {0, 0};
    for (int i = 0; i < count; i++) s.mean += values[i] / count;
    for (int i = 0; i < count; i++) s.deviation += (values[i] - s.mean) * (values[i] - s.mean);
    s.deviation = count > 1 ? sqrt(s.deviation / (count - 1)) : 0;
    return s;
}

typedef struct table {
    double *accuracy, *macro_f1, *test_f1; /* one per fold */
} table;

static lk_status print_json(const lk_train_result *results, int folds, const table *t, FILE *out, lk_error *err) {
    json_t *root = json_pack("{s:[], s:{}}", "folds", "mean"), *lines = json_object_get(root, "folds");
    for (int k = 0; k < folds; k++) {
        const lk_train_result *r = &results[k];
        json_t *line = json_pack("{s:i, s:I, s:I, s:f, s:f}", "fold", k + 1, "epoch", (json_int_t)r->epoch, "samples",
                                 (json_int_t)r->validation.samples, "accuracy", r->validation.accuracy, "macro_f1",
                                 r->validation.macro_f1);
        if (r->test.samples > 0) json_object_set_new(line, "test_macro_f1", json_real(r->test.macro_f1));
        json_array_append_new(lines, line);
    }
    const struct {
        const char *name;
        const double *values;
    } rows[] = {{"accuracy", t->accuracy}, {"macro_f1", t->macro_f1}, {"test_macro_f1", t->test_f1}};
    json_t *mean = json_object_get(root, "mean");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (i == 2 && results[0].test.samples == 0) continue;
        spread s = spread_of(rows[i].values, folds);
        json_object_set_new(mean, rows[i].name,
                            json_pack("{s:f, s:f}", "mean", s.mean, "standard_deviation", s.deviation));
    }
    lk_status status = write_json(root, out, err);
    json_decref(root);
    return status;
}

static void print_text(const lk_train_result *results, int folds, const table *t, FILE *out) {
    bool test = results[0].test.samples > 0;
    fprintf(out, "\nfold   best epoch  samples  accuracy  macro-F1%s\n", test ? "  test macro-F1" : "");
    for (int k = 0; k < folds; k++) {
        const lk_train_result *r = &results[k];
        fprintf(out, "%4d   %10lld  %7lld    %.4f    %.4f", k + 1, (long long)r->epoch,
                (long long)r->validation.samples, r->validation.accuracy, r->validation.macro_f1);
        if (test) fprintf(out, "         %.4f", r->test.macro_f1);
        fputc('\n', out);
    }
    spread accuracy = spread_of(t->accuracy, folds), f1 = spread_of(t->macro_f1, folds);
    fprintf(out, "macro-F1 %.4f +- %.4f, accuracy %.4f +- %.4f (mean and standard deviation of %d folds)\n", f1.mean,
            f1.deviation, accuracy.mean, accuracy.deviation, folds);
    if (!test) return;
    spread s = spread_of(t->test_f1, folds);
    fprintf(out, "test macro-F1 %.4f +- %.4f (the same test samples each time)\n", s.mean, s.deviation);
}

lk_status lk_kfold_print(const lk_train_result *results, int folds, bool json, FILE *out, lk_error *err) {
    lk_status status = LK_OK;
    double *values = NULL;
    LK_TRY(LK_NEW(&values, 3 * (int64_t)folds, "the figures of the folds", err));
    const table t = {values, values + folds, values + (ptrdiff_t)2 * folds};
    for (int k = 0; k < folds; k++) {
        t.accuracy[k] = results[k].validation.accuracy;
        t.macro_f1[k] = results[k].validation.macro_f1;
        t.test_f1[k] = results[k].test.macro_f1;
    }
    if (json)
        LK_TRY(print_json(results, folds, &t, out, err));
    else
        print_text(results, folds, &t, out);
out:
    lk_free(values);
    return status;
}
