#include "train/counters.h"

#include <jansson.h>
#include <string.h>

#include "core/memory.h"

/* One line per field: writing and parsing cannot drift apart. */
#define INTEGERS(X)    \
    X(epoch)           \
    X(update_in_epoch) \
    X(update) X(microbatches) X(loss.epoch) X(f1.epoch) X(epochs_since_best) X(samples) X(correct) X(reductions)
/* Fields that a checkpoint of an older program lacks: zero then. */
#define LATER_INTEGERS(X) \
    X(plateau.has_best)   \
    X(plateau.bad)        \
    X(plateau.cooldown)   \
    X(scaling.good) X(scaling.in_row) X(scaling.skipped) X(skipped_samples) X(skips)
#define LATER_REALS(X) X(plateau.lr) X(plateau.best) X(scaling.scale)
#define ALL_INTEGERS(X) INTEGERS(X) LATER_INTEGERS(X)
#define ALL_REALS(X) REALS(X) LATER_REALS(X)
#define REALS(X) X(loss.value) X(f1.value) X(loss_sum) X(seconds) X(wait_seconds)

lk_status lk_counters_write(char **json, const lk_counters *counters, lk_error *err) {
    *json = NULL;
    json_t *root = json_object();
    int failed = root == NULL;
#define X(field) failed |= json_object_set_new(root, #field, json_integer((json_int_t)counters->field));
    ALL_INTEGERS(X)
#undef X
#define X(field) failed |= json_object_set_new(root, #field, json_real(counters->field));
    ALL_REALS(X)
#undef X
    failed |= json_object_set_new(root, "sample_sum", json_integer((json_int_t)counters->sample_sum));
    failed |= json_object_set_new(root, "finished", json_boolean(counters->finished));
    char *text = failed ? NULL : json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    json_decref(root);
    if (text == NULL) return lk_fail(err, LK_ERR_MEMORY, "cannot write the counters of the run as JSON");
    lk_status status = lk_strdup(json, text, err);
    free(text);
    return status;
}

static lk_status missing(const char *where, const char *field, lk_error *err) {
    return lk_fail(err, LK_ERR_DATA, "%s: the state of the run lacks a valid '%s'", where, field);
}

static lk_status parse_later(lk_counters *out, const json_t *root, const char *where, lk_error *err) {
#define X(field)                                                                         \
    {                                                                                    \
        const json_t *value = json_object_get(root, #field);                             \
        if (value != NULL && (!json_is_integer(value) || json_integer_value(value) < 0)) \
            return missing(where, #field, err);                                          \
        out->field = json_integer_value(value);                                          \
    }
    LATER_INTEGERS(X)
#undef X
#define X(field)                                                                         \
    {                                                                                    \
        const json_t *value = json_object_get(root, #field);                             \
        if (value != NULL && !json_is_number(value)) return missing(where, #field, err); \
        out->field = json_number_value(value);                                           \
    }
    LATER_REALS(X)
#undef X
    if (out->scaling.scale != 0 && !lk_loss_scale_valid(out->scaling.scale))
        return missing(where, "scaling.scale", err);
    return LK_OK;
}

static lk_status parse_fields(lk_counters *out, const json_t *root, const char *where, lk_error *err) {
#define X(field)                                                                                          \
    {                                                                                                     \
        const json_t *value = json_object_get(root, #field);                                              \
        if (!json_is_integer(value) || json_integer_value(value) < 0) return missing(where, #field, err); \
        out->field = json_integer_value(value);                                                           \
    }
    INTEGERS(X)
#undef X
#define X(field)                                                        \
    {                                                                   \
        const json_t *value = json_object_get(root, #field);            \
        if (!json_is_number(value)) return missing(where, #field, err); \
        out->field = json_number_value(value);                          \
    }
    REALS(X)
#undef X
    const json_t *sum = json_object_get(root, "sample_sum"), *finished = json_object_get(root, "finished");
    if (!json_is_integer(sum)) return missing(where, "sample_sum", err);
    if (!json_is_boolean(finished)) return missing(where, "finished", err);
    out->sample_sum = (uint64_t)json_integer_value(sum);
    out->finished = json_is_true(finished);
    return LK_OK;
}

lk_status lk_counters_parse(lk_counters *out, const char *json, const char *where, lk_error *err) {
    memset(out, 0, sizeof *out);
    json_error_t at;
    json_t *root = json_loads(json, 0, &at);
    if (root == NULL) return lk_fail(err, LK_ERR_DATA, "%s: the state of the run is not JSON: %s", where, at.text);
    lk_status status = parse_fields(out, root, where, err);
    if (status == LK_OK) status = parse_later(out, root, where, err);
    json_decref(root);
    return status;
}

void lk_counters_start_epoch(lk_counters *counters) {
    counters->update_in_epoch = 0;
    counters->loss_sum = 0;
    counters->samples = counters->correct = counters->reductions = 0;
    counters->skipped_samples = counters->skips = 0;
    counters->sample_sum = 0;
    counters->seconds = counters->wait_seconds = 0;
}
