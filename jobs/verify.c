/* lockstep verify: recomputes the golden logits that a checkpoint or an export carries, from pixels (P25). */
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "jobs/command.h"
#include "train/inference.h"

#define TOLERANCE 1e-4 /* of the largest golden logit */
#define MAX_BATCH 32

typedef struct verify_options {
    char *device;
    int64_t threads;
    bool json, help;
} verify_options;

#define FIELD(name) offsetof(verify_options, name)
static const lk_option options[] = {
    {.name = "device",
     .type = LK_OPTION_STRING,
     .offset = FIELD(device),
     .default_text = "cpu",
     .help = "that computes: cpu, cuda, auto (cuda where a GPU answers) or reference"},
    {.name = "threads",
     .type = LK_OPTION_INT,
     .offset = FIELD(threads),
     .default_text = "1",
     .min = 1,
     .max = 1024,
     .help = "of arithmetic"},
    {.name = "json",
     .type = LK_OPTION_BOOL,
     .offset = FIELD(json),
     .default_text = "false",
     .help = "the result as JSON"},
    LK_COMMAND_HELP(FIELD(help)),
};

typedef struct comparison {
    double scale;          /* largest absolute golden logit */
    double difference;     /* largest absolute difference; NaN where any is */
    int64_t sample, class; /* where it is */
} comparison;

static void compare_row(comparison *c, const float *golden, const double *logits, int64_t sample, int64_t classes) {
    for (int64_t k = 0; k < classes; k++) {
        double size = fabs((double)golden[k]), difference = fabs(logits[k] - (double)golden[k]);
        if (!(size <= c->scale)) c->scale = size;
        if (isnan(c->difference) || difference <= c->difference) continue;
        c->difference = difference; /* larger, or the first NaN, which then stays */
        c->sample = sample;
        c->class = k;
    }
}

static lk_status compare(comparison *out, lk_inference *inference, const lk_golden *golden, int64_t batch,
                         lk_error *err) {
    const lk_graph *graph = lk_inference_get_graph(inference);
    int64_t classes = graph->classes, image = graph->in_h * graph->in_w * graph->in_channels;
    double *logits = NULL;
    lk_status status = LK_OK;
    LK_TRY(LK_NEW(&logits, batch * classes, "logits", err));
    for (int64_t at = 0; at < golden->count; at += batch) {
        int64_t rows = golden->count - at < batch ? golden->count - at : batch;
        LK_TRY(lk_inference_run(inference, golden->images + at * image, rows, logits, err));
        for (int64_t i = 0; i < rows; i++)
            compare_row(out, golden->logits + (at + i) * classes, logits + i * classes, at + i, classes);
    }
out:
    lk_free(logits);
    return status;
}

static void print_result(const char *path, const comparison *c, const lk_inference *inference, int64_t count,
                         bool passed, bool json) {
    const lk_meta *meta = lk_inference_get_meta(inference);
    if (json)
        printf("{\"golden\": %lld, \"scale\": %.9g, \"difference\": %.9g, \"tolerance\": %g, \"passed\": %s}\n",
               (long long)count, isfinite(c->scale) ? c->scale : -1, isfinite(c->difference) ? c->difference : -1,
               TOLERANCE, passed ? "true" : "false");
    else
        printf(
            "%s: %s, %lld golden samples: largest difference %.3g at sample %lld, class %lld; allowed %.3g (%g of "
            "the largest logit, %.3g): %s\n",
            path, meta->architecture, (long long)count, c->difference, (long long)c->sample, (long long)c->class,
            TOLERANCE * c->scale, TOLERANCE, c->scale, passed ? "PASS" : "FAIL");
}

static lk_status verify(const char *path, const verify_options *given, lk_error *err) {
    lk_inference *inference = NULL;
    lk_golden golden;
    comparison found = {0};
    lk_inference_options settings = {.device = given->device, .batch = MAX_BATCH, .threads = (int)given->threads};
    lk_status status = LK_OK;
    LK_TRY(lk_inference_open(&inference, path, &settings, err));
    lk_inference_get_golden(inference, &golden);
    if (golden.count == 0) {
        status =
            lk_fail(err, LK_ERR_DATA, "%s carries no golden samples, so there is nothing to verify it against", path);
        goto out;
    }
    LK_TRY(compare(&found, inference, &golden, MAX_BATCH, err));
    bool passed = found.difference <= TOLERANCE * found.scale; /* false for NaN */
    print_result(path, &found, inference, golden.count, passed, given->json);
    if (!passed)
        status = lk_fail(err, LK_ERR_DATA,
                         "%s does not give the logits it was saved with: use another copy, or convert it again", path);
out:
    lk_inference_free(inference);
    return status;
}

static lk_status run(void *flags, char **arguments, int count, lk_error *err) {
    (void)count;
    return verify(arguments[0], flags, err);
}

const lk_command lk_command_verify = {
    .synopsis = "verify FILE [options]",
    .about =
        "Recomputes the logits of the golden samples inside a checkpoint, a .safetensors or an .onnx file\n"
        "from their pixels, and compares. Of an ONNX file, the graph must also be the one that convert\n"
        "writes for its architecture. Ends with status 1 when they differ by more than 1e-4 of the largest.",
    LK_COMMAND_OPTIONS(options, verify_options),
    .least = 1,
    .most = 1,
    .wrong = "verify takes one FILE: lockstep verify FILE",
    .run = run};
