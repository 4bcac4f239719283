/* A model on a device with its slabs, as the parity programs use it. */
#ifndef LK_TESTS_MODEL_TOOL_H
#define LK_TESTS_MODEL_TOOL_H

#include "model_tool_h5.h"
#include "nn/model.h"
#include "nn/plan.h"

#define TOOL_MAX_SLABS 16

/* What the input file asks for: root attributes of the same names. */
typedef struct tool_job {
    char model[64], device[32], mode[16]; /* mode: "init", "train", "eval" */
    int64_t channels, height, width, classes, batch, microbatches, steps, rows, threads, seed;
    int64_t write_grads, write_params; /* write_params: every so many steps; 0: never */
    double smoothing;
    lk_sgd sgd;
    lk_model_spec spec;
} tool_job;

typedef struct tool {
    tool_job job;
    lk_device *device;
    lk_graph *graph;
    lk_plan *plan;
    lk_lane *lane;
    lk_stream *stream;
    lk_plan_totals totals;
    void *arena, *params, *velocity, *stats, *fresh, *derived;
    void *grads[TOOL_MAX_SLABS]; /* one a level of the tree */
    uint8_t *images;             /* leaves x batch x H x W x C */
    int32_t *labels;             /* leaves x batch */
} tool;

LK_MUST_CHECK lk_status tool_read_job(tool_job *job, hid_t in, lk_error *err);
/* Owner: the caller, with tool_close, after a failure too. */
LK_MUST_CHECK lk_status tool_open(tool *t, hid_t in, lk_error *err);
void tool_close(tool *t);

/* Parameters and running statistics between the file and the slabs. prefix: "state", "params/3". */
LK_MUST_CHECK lk_status tool_load_state(tool *t, hid_t in, const char *prefix, lk_error *err);
LK_MUST_CHECK lk_status tool_save_params(tool *t, hid_t out, const char *prefix, const void *slab, lk_error *err);
LK_MUST_CHECK lk_status tool_save_stats(tool *t, hid_t out, const char *prefix, lk_error *err);

#endif
