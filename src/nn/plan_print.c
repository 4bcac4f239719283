/* Text and JSON of a compiled plan. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "nn/plan_internal.h"

static const char *pass_of(const lk_plan_call *call) { return call->backward ? "bwd" : "fwd"; }

static void print_row(FILE *out, const lk_plan_call *row) {
    char layout[32], shape[64];
    const lk_act_desc *made = row->made;
    snprintf(shape, sizeof shape, "%" PRId64 "x%" PRId64 "x%" PRId64 "x%" PRId64, made->n, made->c, made->h, made->w);
    fprintf(out, "%4d %-4s %-14s %-24s %-16s %-8s %-9s %9.2f %10.1f  %s\n", row->number, pass_of(row), row->op,
            row->layer, shape, lk_plan_layout_name(made, layout, sizeof layout), lk_dtype_name(made->dtype),
            row->bytes / 1e6, row->flops / 1e6, row->implementation);
}

static void print_totals(FILE *out, const lk_plan *plan) {
    const lk_plan_totals *t = &plan->totals;
    double size = (double)lk_dtype_size(plan->device->master);
    int64_t bound = lk_arena_lower_bound(plan->live, plan->live_count);
    fprintf(out, "calls        %d (%d forward, %d backward)\n", t->calls, t->calls - plan->backward_count,
            plan->backward_count);
    fprintf(out, "parameters   %" PRId64 " in %d tensors\n", t->params, plan->param_count);
    fprintf(out, "slab         %.2f MB for each of parameters, gradients, optimizer state (%s)\n",
            (double)t->slab_count * size / 1e6, lk_dtype_name(plan->device->master));
    fprintf(out, "statistics   %.2f MB\n", (double)t->stats_count * size / 1e6);
    fprintf(out, "derived      %.2f MB of parameters in other layouts or types\n", (double)t->derived_bytes / 1e6);
    fprintf(out, "arena        %.2f MB a lane, %d buffers (%.2f MB alive at once)\n", (double)t->arena_bytes / 1e6,
            plan->live_count, (double)bound / 1e6);
    fprintf(out, "microbatch   %.2f GFLOP, %.2f GB read and written\n", t->flops / 1e9, t->bytes / 1e9);
}

static lk_status print_text(const lk_plan *plan, FILE *out) {
    const lk_graph *g = plan->graph;
    fprintf(out,
            "%s plan: microbatch of %" PRId64 ", %" PRId64 " x %" PRId64 " x %" PRId64 ", %" PRId64
            " classes, %s on %s (%s)\n",
            plan->options.training ? "training" : "evaluation", plan->options.batch, g->in_channels, g->in_h, g->in_w,
            g->classes, lk_dtype_name(plan->options.compute), plan->device->name, plan->device->identity(plan->device));
    fprintf(out, "%4s %-4s %-14s %-24s %-16s %-8s %-9s %9s %10s  %s\n", "call", "pass", "op", "layer", "shape",
            "layout", "type", "MB", "MFLOP", "implementation");
    for (int i = 0; i < lk_plan_call_numbers(plan); i++) {
        lk_plan_call row;
        if (!lk_plan_get_call(plan, i, &row)) continue;
        print_row(out, &row);
    }
    print_totals(out, plan);
    return LK_OK;
}

/* By pass; NULL: nothing was there to choose. */
static json_t *json_choices(const lk_plan_call *row) {
    json_t *choices = NULL;
    for (lk_op_pass pass = 0; pass < LK_PASS_COUNT; pass++) {
        if (row->chosen[pass] == NULL || row->chosen[pass][0] == '\0') continue;
        if (choices == NULL) choices = json_object();
        json_object_set_new(choices, lk_op_pass_name(pass), json_string(row->chosen[pass]));
    }
    return choices;
}

static json_t *json_row(const lk_plan_call *row) {
    char layout[32];
    const lk_act_desc *made = row->made;
    return json_pack("{s:i, s:s, s:s, s:s, s:s, s:[I,I,I,I], s:s, s:s, s:f, s:f, s:f, s:i, s:s, s:o*}", "call",
                     row->number, "pass", pass_of(row), "op", row->op, "kind", row->kind, "layer", row->layer, "shape",
                     (json_int_t)made->n, (json_int_t)made->c, (json_int_t)made->h, (json_int_t)made->w, "layout",
                     lk_plan_layout_name(made, layout, sizeof layout), "dtype", lk_dtype_name(made->dtype), "bytes",
                     row->bytes, "operand_bytes", row->operand_bytes, "flops", row->flops, "launches", row->launches,
                     "implementation", row->implementation, "choices", json_choices(row));
}

static lk_status print_json(const lk_plan *plan, FILE *out, lk_error *err) {
    const lk_plan_totals *t = &plan->totals;
    json_t *calls = json_array();
    for (int i = 0; i < lk_plan_call_numbers(plan); i++) {
        lk_plan_call row;
        if (!lk_plan_get_call(plan, i, &row)) continue;
        json_array_append_new(calls, json_row(&row));
    }
    int64_t bound = lk_arena_lower_bound(plan->live, plan->live_count);
    json_t *root = json_pack(
        "{s:b, s:I, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:o}", "training", plan->options.training,
        "microbatch", (json_int_t)plan->options.batch, "compute", lk_dtype_name(plan->options.compute), "device",
        plan->device->name, "identity", plan->device->identity(plan->device), "parameters", (json_int_t)t->params,
        "slab_elements", (json_int_t)t->slab_count, "statistics_elements", (json_int_t)t->stats_count, "derived_bytes",
        (json_int_t)t->derived_bytes, "arena_bytes", (json_int_t)t->arena_bytes, "arena_lower_bound", (json_int_t)bound,
        "flops", t->flops, "bytes", t->bytes, "calls", calls);
    if (root == NULL) return lk_fail(err, LK_ERR_MEMORY, "cannot build the JSON text of a plan: out of memory");
    int failed = json_dumpf(root, out, JSON_INDENT(1));
    json_decref(root);
    if (failed == 0 && fputc('\n', out) != EOF) return LK_OK;
    return lk_fail(err, LK_ERR_IO, "cannot write the JSON text of a plan");
}

lk_status lk_plan_print(const lk_plan *plan, FILE *out, bool json, lk_error *err) {
    LK_RETURN_IF(json ? print_json(plan, out, err) : print_text(plan, out));
    if (fflush(out) != 0 || ferror(out)) return lk_fail_errno(err, "write", "the plan");
    return LK_OK;
}
