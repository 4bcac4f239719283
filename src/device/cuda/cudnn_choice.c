/* An engine and its knobs as text, and a plan made of such a text. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/cuda/cudnn_graph.h"

#define MOST_KNOBS 64

#define ENGINE "cudnn engine "
#define SHORT " in 16 bits" /* the weight gradient */
#define KNOBS " knobs"

/* What a text says. */
typedef struct choice {
    int64_t engine;
    bool short_dweight;
    int count;
    int64_t types[MOST_KNOBS], values[MOST_KNOBS];
} choice;

static bool append(char *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool append(char *text, const char *format, ...) {
    size_t used = strlen(text);
    va_list args;
    va_start(args, format);
    int length = vsnprintf(text + used, LK_CUDNN_CHOICE_SIZE - used, format, args);
    va_end(args);
    return length >= 0 && (size_t)length < LK_CUDNN_CHOICE_SIZE - used;
}

static bool print(char *text, const choice *c) {
    text[0] = '\0';
    bool fits =
        append(text, ENGINE "%" PRId64 "%s%s", c->engine, c->short_dweight ? SHORT : "", c->count > 0 ? KNOBS : "");
    for (int i = 0; i < c->count; i++) fits = fits && append(text, " %" PRId64 "=%" PRId64, c->types[i], c->values[i]);
    return fits;
}

/* Moves *at behind `word` where it stands there. */
static bool skip(const char **at, const char *word) {
    size_t length = strlen(word);
    if (strncmp(*at, word, length) != 0) return false;
    *at += length;
    return true;
}

/* A whole number, as print writes it. */
static bool read_number(const char **at, int64_t *value) {
    char *end;
    if (**at != '-' && (**at < '0' || **at > '9')) return false;
    errno = 0;
    *value = strtoll(*at, &end, 10);
    bool well = errno == 0 && end != *at;
    *at = end;
    return well;
}

static bool parse(choice *c, const char *text) {
    const char *at = text;
    *c = (choice){0};
    if (!skip(&at, ENGINE) || !read_number(&at, &c->engine) || c->engine < 0) return false;
    c->short_dweight = skip(&at, SHORT);
    if (skip(&at, KNOBS))
        for (; *at != '\0'; c->count++) {
            if (c->count == MOST_KNOBS || !skip(&at, " ") || !read_number(&at, &c->types[c->count])) return false;
            if (c->types[c->count] < 0 || c->types[c->count] > 1000) return false;
            if (!skip(&at, "=") || !read_number(&at, &c->values[c->count])) return false;
        }
    return *at == '\0';
}

lk_status lk_cudnn_choice_write(char *text, cudnnBackendDescriptor_t config, int64_t engine, const lk_cudnn_conv *conv,
                                lk_error *err) {
    lk_status status = LK_OK;
    cudnnBackendDescriptor_t knobs[MOST_KNOBS] = {0};
    choice c = {.engine = engine, .short_dweight = conv->short_dweight};
    int64_t count = 0, one;
    for (int i = 0; i < MOST_KNOBS; i++) LK_TRY(lk_cudnn_create(&knobs[i], CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR, err));
    LK_TRY(lk_cudnn_get(config, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_TYPE_BACKEND_DESCRIPTOR, MOST_KNOBS, &count,
                        knobs, err));
    bool fits = count <= MOST_KNOBS;
    for (; fits && c.count < count; c.count++) {
        cudnnBackendKnobType_t type;
        LK_TRY(
            lk_cudnn_get(knobs[c.count], CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1, &one, &type, err));
        LK_TRY(lk_cudnn_get(knobs[c.count], CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64, 1, &one,
                            &c.values[c.count], err));
        c.types[c.count] = (int64_t)type;
    }
    if (!fits || !print(text, &c))
        LK_TRY(lk_fail(err, LK_ERR_UNSUPPORTED, "cuDNN's engine %" PRId64 " has %" PRId64 " knobs, too many to record",
                       engine, count));
out:
    for (int i = 0; i < MOST_KNOBS; i++) lk_cudnn_destroy(knobs[i]);
    return status;
}

static bool finalize(cudnnBackendDescriptor_t descriptor) {
    return cudnnBackendFinalize(descriptor) == CUDNN_STATUS_SUCCESS;
}

/* *made: false where the library has no such engine. */
static lk_status make_engine(cudnnBackendDescriptor_t *engine, const lk_cudnn_target *target,
                             const lk_cudnn_graph *graph, int64_t number, bool *made, lk_error *err) {
    lk_status status = LK_OK;
    LK_TRY(lk_cudnn_create(engine, CUDNN_BACKEND_ENGINE_DESCRIPTOR, err));
    LK_TRY(lk_cudnn_set(*engine, CUDNN_ATTR_ENGINE_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                        &graph->parts[graph->count - 1], err));
    LK_TRY(lk_cudnn_set(*engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &number, err));
    if (target->handle == NULL)
        LK_TRY(lk_cudnn_set(*engine, CUDNN_ATTR_ENGINE_DEVICEPROP, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &target->device,
                            err));
    *made = finalize(*engine);
out:
    return status;
}

/* *made: false where the engine has no such knob, or not this choice of it. */
static lk_status make_config(cudnnBackendDescriptor_t *config, cudnnBackendDescriptor_t *knobs,
                             cudnnBackendDescriptor_t engine, const choice *c, bool *made, lk_error *err) {
    lk_status status = LK_OK;
    *made = true;
    for (int i = 0; i < c->count && *made; i++) {
        cudnnBackendKnobType_t type = (cudnnBackendKnobType_t)c->types[i];
        LK_TRY(lk_cudnn_create(&knobs[i], CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR, err));
        *made = cudnnBackendSetAttribute(knobs[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1, &type) ==
                    CUDNN_STATUS_SUCCESS &&
                cudnnBackendSetAttribute(knobs[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64, 1,
                                         &c->values[i]) == CUDNN_STATUS_SUCCESS &&
                finalize(knobs[i]);
    }
    if (!*made) goto out;
    LK_TRY(lk_cudnn_create(config, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, err));
    LK_TRY(lk_cudnn_set(*config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &engine, err));
    if (c->count > 0)
        LK_TRY(lk_cudnn_set(*config, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_TYPE_BACKEND_DESCRIPTOR, c->count, knobs,
                            err));
    *made = finalize(*config);
out:
    return status;
}

lk_status lk_cudnn_plan_restore(lk_cudnn_plan *out, const lk_cudnn_target *target, lk_cudnn_conv *conv,
                                lk_cudnn_pass pass, const char *text, int64_t limit, lk_error *err) {
    lk_status status = LK_OK;
    lk_cudnn_graph graph = {0};
    cudnnBackendDescriptor_t engine = NULL, config = NULL, knobs[MOST_KNOBS] = {0};
    choice c;
    bool made = false;
    memset(out, 0, sizeof *out);
    if (!parse(&c, text) || (c.short_dweight && (pass != LK_CUDNN_WEIGHT || conv->dtype == LK_F32)))
        return lk_fail(err, LK_ERR_UNSUPPORTED, "'%s' is no choice of cuDNN's for its %s", text,
                       lk_cudnn_pass_name(pass));
    conv->short_dweight = c.short_dweight;
    LK_TRY(lk_cudnn_graph_create(&graph, target, conv, pass, err));
    LK_TRY(make_engine(&engine, target, &graph, c.engine, &made, err));
    if (made) LK_TRY(make_config(&config, knobs, engine, &c, &made, err));
    if (made) LK_TRY(lk_cudnn_try(out, target, config, conv, limit, err));
    if (out->plan == NULL)
        LK_TRY(lk_fail(err, LK_ERR_UNSUPPORTED, "cuDNN %zu does not make its %s with '%s'", cudnnGetVersion(),
                       lk_cudnn_pass_name(pass), text));
out:
    lk_cudnn_destroy(config);
    for (int i = 0; i < MOST_KNOBS; i++) lk_cudnn_destroy(knobs[i]);
    lk_cudnn_destroy(engine);
    lk_cudnn_graph_free(&graph);
    return status;
}
