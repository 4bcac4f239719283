/* lockstep models: every network of the table, with what it costs and what its published weights were made with. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "core/options.h"
#include "jobs/command.h"
#include "nn/model.h"

typedef struct models_flags {
    bool json, help;
    int64_t size, classes;
} models_flags;

#define AT(field) offsetof(models_flags, field)
static const lk_option options[] = {
    {"json", LK_OPTION_BOOL, AT(json), 0, "false", 0, 0, NULL, "as JSON", 0, false},
    {"size", LK_OPTION_INT, AT(size), 0, "0", 0, 4096, NULL, "pixels that the work is counted for; 0: each model's own",
     0, false},
    {"classes", LK_OPTION_INT, AT(classes), 0, "1000", 2, 1e6, NULL, "of the classifier", 0, false},
    LK_COMMAND_HELP(AT(help)),
};

/* A model with what it costs. */
typedef struct row {
    const lk_model_entry *entry;
    int64_t size, params, multiply_adds; /* size: pixels that the work is counted for */
} row;

static lk_status count(row *r, const lk_model_entry *entry, const models_flags *flags, lk_error *err) {
    *r = (row){.entry = entry, .size = flags->size > 0 ? flags->size : entry->native_size};
    lk_model_spec spec = {.channels = 3, .h = r->size, .w = r->size, .classes = flags->classes, .std = {1, 1, 1}};
    lk_graph *graph = NULL;
    LK_RETURN_IF(lk_model_build(&graph, entry->name, &spec, err));
    lk_graph_count(graph, &r->params, &r->multiply_adds);
    lk_graph_free(graph);
    return LK_OK;
}

static void print_row(const row *r) {
    const lk_model_weights *w = &r->entry->weights;
    printf("%-22s %12" PRId64 " %9.3f %5" PRId64, r->entry->name, r->params, (double)r->multiply_adds / 1e9, r->size);
    printf("  %-7.3g %-9.3g", r->entry->dropout, r->entry->drop_path);
    if (w->name == NULL) {
        puts("  -");
        return;
    }
    printf("  %3" PRId64 " of %3" PRId64 " %-8s  %5.3f %5.3f %5.3f  %5.3f %5.3f %5.3f  %s\n", w->size,
           lk_model_resize_size(w, w->size), w->bicubic ? "bicubic" : "bilinear", (double)w->mean[0],
           (double)w->mean[1], (double)w->mean[2], (double)w->std[0], (double)w->std[1], (double)w->std[2], w->name);
}

static json_t *numbers(const float *values) {
    json_t *list = json_array();
    for (int i = 0; i < 3; i++) json_array_append_new(list, json_real((double)values[i]));
    return list;
}

static json_t *describe(const row *r) {
    const lk_model_weights *w = &r->entry->weights;
    json_t *weights = json_null();
    if (w->name != NULL)
        weights =
            json_pack("{s:s, s:I, s:I, s:f, s:s, s:o, s:o}", "name", w->name, "size", (json_int_t)w->size,
                      "resize_size", (json_int_t)lk_model_resize_size(w, w->size), "crop", w->crop, "interpolation",
                      w->bicubic ? "bicubic" : "bilinear", "mean", numbers(w->mean), "std", numbers(w->std));
    return json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:f, s:f, s:o}", "name", r->entry->name, "family",
                     r->entry->family, "source", r->entry->source, "parameters", (json_int_t)r->params, "multiply_adds",
                     (json_int_t)r->multiply_adds, "size", (json_int_t)r->size, "native_size",
                     (json_int_t)r->entry->native_size, "dropout", r->entry->dropout, "drop_path", r->entry->drop_path,
                     "weights", weights);
}

static lk_status run(void *given, char **arguments, int arguments_count, lk_error *err) {
    const models_flags *flags = given;
    (void)arguments;
    (void)arguments_count;
    int models = 0;
    const lk_model_entry *entries = lk_models(&models);
    json_t *list = flags->json ? json_array() : NULL;
    lk_status status = LK_OK;
    if (!flags->json)
        printf("%-22s %12s %9s %5s  %-7s %-9s  %-19s  %-17s  %-17s  %s\n", "model", "parameters", "GMAC", "size",
               "dropout", "drop path", "crop of short side", "mean", "std", "weights of that preprocessing");
    for (int i = 0; i < models; i++) {
        row r;
        LK_TRY(count(&r, &entries[i], flags, err));
        if (flags->json)
            json_array_append_new(list, describe(&r));
        else
            print_row(&r);
    }
    if (!flags->json)
        puts("GMAC: 1e9 multiply-adds of convolutions and linear layers for one image forward; two flops each");
    else if (json_array_size(list) != (size_t)models || json_dumpf(list, stdout, JSON_INDENT(1)) != 0)
        status = lk_fail(err, LK_ERR_IO, "cannot write the list of models as JSON");
    else
        putchar('\n');
out:
    json_decref(list);
    return status;
}

const lk_command lk_command_models = {
    .synopsis = "models [options]",
    .about =
        "Lists the networks: parameters, multiply-adds, native size, published rates of dropout and\n"
        "stochastic depth, and the preprocessing of the published weights.",
    LK_COMMAND_OPTIONS(options, models_flags),
    .least = 0,
    .most = 0,
    .wrong = "models takes no argument; 'lockstep models --help' lists its options",
    .run = run};
