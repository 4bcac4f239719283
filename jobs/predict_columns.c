/* Which columns the CSV has, and what they are called. */
#include <stdlib.h>
#include <string.h>

#include "core/options.h"
#include "core/text.h"
#include "jobs/predict.h"

static const char *const kind_names[LK_COLUMN_KIND_COUNT] = {"path",        "label", "class",
                                                             "probability", "index", "probabilities"};

static lk_status add_column(lk_predict_columns *columns, lk_predict_column_kind kind, int rank, const char *heading,
                            lk_error *err) {
    if (columns->count == LK_PREDICT_MAX_COLUMNS)
        return lk_fail(err, LK_ERR_USAGE, "predict: more than %d columns are asked for", LK_PREDICT_MAX_COLUMNS);
    lk_predict_column *column = &columns->columns[columns->count];
    if (strlen(heading) >= sizeof column->heading)
        return lk_fail(err, LK_ERR_USAGE, "predict: the column name '%.40s...' is too long", heading);
    column->kind = kind;
    column->rank = rank;
    strcpy(column->heading, heading);
    columns->count++;
    if (rank > columns->best) columns->best = rank;
    return LK_OK;
}

/* 0 for what is no positive number of at most 4 digits. */
static int parse_rank(const char *text) {
    size_t length = strlen(text);
    if (length == 0 || length > 4 || strspn(text, "0123456789") != length) return 0;
    return (int)strtol(text, NULL, 10);
}

/* "class_2" is the class of rank 2; a name without a number has rank 1. */
static bool parse_name(const char *name, lk_predict_column_kind *kind, int *rank) {
    char base[32];
    const char *dash = strrchr(name, '_');
    size_t length = dash == NULL ? strlen(name) : (size_t)(dash - name);
    if (length >= sizeof base) return false;
    memcpy(base, name, length);
    base[length] = '\0';
    for (int k = 0; k < LK_COLUMN_KIND_COUNT; k++) {
        if (strcmp(base, kind_names[k]) != 0) continue;
        bool ranked = k == LK_COLUMN_CLASS || k == LK_COLUMN_PROBABILITY || k == LK_COLUMN_INDEX;
        *kind = (lk_predict_column_kind)k;
        *rank = dash == NULL ? 1 : parse_rank(dash + 1);
        return dash == NULL || (ranked && *rank > 0);
    }
    return false;
}

static lk_status parse_item(lk_predict_columns *columns, const char *item, int classes, lk_error *err) {
    char name[160];
    lk_predict_column_kind kind;
    int rank;
    snprintf(name, sizeof name, "%s", item);
    char *equals = strchr(name, '=');
    if (equals != NULL) *equals = '\0';
    if (!parse_name(name, &kind, &rank)) {
        const char *near = lk_nearest_name(name, kind_names, LK_COLUMN_KIND_COUNT);
        if (near != NULL)
            return lk_fail(err, LK_ERR_USAGE, "predict: unknown column '%s'; did you mean '%s'?", name, near);
        return lk_fail(err, LK_ERR_USAGE,
                       "predict: unknown column '%s'; columns are path, class, probability, index, label, "
                       "probabilities, and of lower ranks class_2, probability_2, index_2, ...",
                       name);
    }
    if (rank > classes)
        return lk_fail(err, LK_ERR_USAGE, "predict: column '%s' needs more than the model's %d classes", name, classes);
    if (equals != NULL && kind == LK_COLUMN_PROBABILITIES)
        return lk_fail(err, LK_ERR_USAGE, "predict: 'probabilities' is one column a class, named by the classes");
    return add_column(columns, kind, rank, equals == NULL ? name : equals + 1, err);
}

static lk_status add_defaults(lk_predict_columns *columns, int64_t topk, int classes, lk_error *err) {
    if (topk > classes)
        return lk_fail(err, LK_ERR_USAGE, "predict: --topk is %lld, but the model has %d classes", (long long)topk,
                       classes);
    LK_RETURN_IF(add_column(columns, LK_COLUMN_PATH, 1, "path", err));
    for (int rank = 1; rank <= topk; rank++) {
        char heading[64];
        snprintf(heading, sizeof heading, rank == 1 ? "class" : "class_%d", rank);
        LK_RETURN_IF(add_column(columns, LK_COLUMN_CLASS, rank, heading, err));
        snprintf(heading, sizeof heading, rank == 1 ? "probability" : "probability_%d", rank);
        LK_RETURN_IF(add_column(columns, LK_COLUMN_PROBABILITY, rank, heading, err));
    }
    return LK_OK;
}

lk_status lk_predict_columns_parse(lk_predict_columns *out, const char *text, int64_t topk, int classes,
                                   lk_error *err) {
    memset(out, 0, sizeof *out);
    out->best = 1;
    if (text == NULL) return add_defaults(out, topk, classes, err);
    if (topk > 1)
        return lk_fail(err, LK_ERR_USAGE,
                       "predict: --topk adds to the usual columns; beside --columns, name them there: "
                       "class_2,probability_2,...");
    while (*text != '\0') {
        char item[160];
        size_t length = strcspn(text, ",");
        if (length >= sizeof item)
            return lk_fail(err, LK_ERR_USAGE, "predict: the column '%.40s...' is too long", text);
        memcpy(item, text, length);
        item[length] = '\0';
        LK_RETURN_IF(parse_item(out, item, classes, err));
        text += length;
        text += *text == ',';
    }
    if (out->count == 0) return lk_fail(err, LK_ERR_USAGE, "predict: --columns names no column");
    return LK_OK;
}

void lk_predict_columns_print_heading(const lk_predict_columns *columns, const lk_meta *meta, FILE *out) {
    for (int i = 0; i < columns->count; i++) {
        const lk_predict_column *column = &columns->columns[i];
        if (i > 0) fputc(',', out);
        if (column->kind != LK_COLUMN_PROBABILITIES) {
            lk_text_write_csv(column->heading, out);
            continue;
        }
        for (int k = 0; k < meta->class_count; k++) {
            if (k > 0) fputc(',', out);
            lk_text_write_csv(meta->class_names[k], out);
        }
    }
    fputs("\r\n", out);
}

static const char *label_of(const lk_predict_item *item) {
    if (item->dataset == NULL) return "";
    int32_t label = item->dataset->samples[item->sample].label;
    return label < 0 || label >= item->dataset->class_count ? "" : item->dataset->class_names[label];
}

void lk_predict_columns_print_row(const lk_predict_columns *columns, const lk_meta *meta, const lk_predict_item *item,
                                  const int *order, const double *probabilities, FILE *out) {
    for (int i = 0; i < columns->count; i++) {
        const lk_predict_column *column = &columns->columns[i];
        int class = order[column->rank - 1];
        if (i > 0) fputc(',', out);
        switch (column->kind) {
            case LK_COLUMN_PATH: lk_text_write_csv(item->name, out); break;
            case LK_COLUMN_LABEL: lk_text_write_csv(label_of(item), out); break;
            case LK_COLUMN_CLASS: lk_text_write_csv(meta->class_names[class], out); break;
            case LK_COLUMN_PROBABILITY: fprintf(out, "%.7g", probabilities[class]); break;
            case LK_COLUMN_INDEX: fprintf(out, "%d", class); break;
            default:
                for (int k = 0; k < meta->class_count; k++) fprintf(out, k == 0 ? "%.7g" : ",%.7g", probabilities[k]);
                break;
        }
    }
    fputs("\r\n", out);
}
