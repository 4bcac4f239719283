#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "modes.h"
#include "tolerance.h"

#define FILL_NAN 0xff
#define FILL_HUGE 0x7b /* 1e36 in float32 and bfloat16, 1e286 in float64 */
#define PARALLEL 2     /* lanes side by side */

/* One case in one type and one layout of x, with everything that its checks share. */
typedef struct subject {
    op_context *context;
    const op_case *c;
    lk_dtype compute;
    int64_t block;
    const op_values *values, *others; /* others: another draw, run in between to leave traces */
    const op_results *reference;      /* the oracle's results */
    op_results *first;                /* the device's first results */
} subject;

/* Runs a case in its own lane of a shared plan. */
static lk_status run_lane(const subject *s, const op_plan *plan, op_lane_options options, const op_values *before,
                          op_results *results, lk_error *err) {
    op_lane *lane = NULL;
    lk_status status = LK_OK;
    LK_TRY(op_lane_create(&lane, plan, options, err));
    if (before != NULL) LK_TRY(op_lane_run(lane, before, results, err));
    LK_TRY(op_lane_run(lane, s->values, results, err));
out:
    op_lane_free(lane);
    return status;
}

/* The same bits after another run, with other contents of the memory to be written, with dresidual in dy[0]'s place. */
static lk_status check_again(const subject *s, const op_plan *plan, lk_error *err) {
    op_results *again = NULL;
    lk_status status = LK_OK;
    LK_TRY(op_results_create(&again, s->c, s->values, err));
    LK_TRY(run_lane(s, plan, (op_lane_options){.fill = FILL_HUGE}, s->others, again, err));
    LK_TRY(op_results_same(s->first, again, "running it after another batch in memory of other contents", err));
    if (!op_case_has_residual(&s->c->desc) || !lk_op_has_backward(&s->c->desc) || s->c->desc.kind == LK_OP_SCALE)
        goto out;
    LK_TRY(run_lane(s, plan, (op_lane_options){.fill = FILL_NAN, .alias = true}, NULL, again, err));
    LK_TRY(op_results_same(s->first, again, "writing dresidual over dy[0]", err));
out:
    op_results_free(again);
    return status;
}

typedef struct worker {
    const subject *s;
    const op_plan *plan;
    op_results *results;
    lk_status status;
    lk_error err;
    pthread_t thread;
} worker;

static void *work(void *argument) {
    worker *w = argument;
    w->status = run_lane(w->s, w->plan, (op_lane_options){.fill = FILL_NAN}, w->s->others, w->results, &w->err);
    return NULL;
}

/* The same bits from lanes side by side that share the plan. */
static lk_status check_parallel(const subject *s, const op_plan *plan, lk_error *err) {
    worker workers[PARALLEL] = {0};
    lk_status status = LK_OK;
    int started = 0;
    for (int i = 0; i < PARALLEL; i++) {
        workers[i] = (worker){.s = s, .plan = plan};
        LK_TRY(op_results_create(&workers[i].results, s->c, s->values, err));
    }
    for (; started < PARALLEL; started++)
        if (pthread_create(&workers[started].thread, NULL, work, &workers[started]) != 0) break;
    if (started < PARALLEL) status = lk_fail(err, LK_ERR_INTERNAL, "cannot start a thread");
    for (int i = 0; i < started; i++) pthread_join(workers[i].thread, NULL);
    for (int i = 0; i < started && status == LK_OK; i++) {
        if (workers[i].status != LK_OK)
            status = lk_fail(err, workers[i].status, "in a lane beside others: %s", workers[i].err.message);
        else
            status = op_results_same(s->first, workers[i].results, "running it beside another lane", err);
    }
out:
    for (int i = 0; i < PARALLEL; i++) op_results_free(workers[i].results);
    return status;
}

/* A training case's forward pass as a plan for evaluation with the training plan's parameter layout. */
static lk_status check_evaluation(const subject *s, const op_plan *training, lk_error *err) {
    lk_op_kind kind = s->c->desc.kind;
    if (!s->c->desc.training || kind == LK_OP_BATCHNORM || kind == LK_OP_DROPOUT) return LK_OK; /* compute otherwise */
    if (s->c->desc.kind == LK_OP_LOSS && s->c->desc.loss.f1_microbatch) return LK_OK; /* and leaves its F1 out */
    op_case c = *s->c;
    c.desc.training = false;
    op_plan *plan = NULL;
    op_results *seen = NULL, want;
    lk_status status = LK_OK;
    subject evaluation = *s;
    evaluation.c = &c;
    LK_TRY(op_plan_create(&plan, s->context->device, &c, s->compute, s->block, training, err));
    LK_TRY(op_results_create(&seen, &c, s->values, err));
    LK_TRY(run_lane(&evaluation, plan, (op_lane_options){.fill = FILL_NAN}, NULL, seen, err));
    want = *s->reference;
    for (int k = OP_Y + 1; k < OP_RESULT_COUNT; k++) want.count[k] = 0;
    LK_TRY(op_results_close(plan, seen, &want, err));
out:
    op_results_free(seen);
    op_plan_free(plan);
    return status;
}

/* Parameters must survive packing and unpacking. */
static lk_status check_pack(const subject *s, const op_plan *plan, lk_error *err) {
    lk_device *device = s->context->device;
    size_t size = lk_dtype_size(device->master);
    void *canonical = NULL, *stored = NULL, *back = NULL;
    lk_status status = LK_OK;
    for (int i = 0; i < plan->info.param_count && status == LK_OK; i++) {
        size_t count = (size_t)s->values->param_count[i];
        LK_TRY(lk_alloc(&canonical, count, size, "a parameter", err));
        LK_TRY(lk_alloc(&back, count, size, "a parameter", err));
        LK_TRY(device->alloc(device, &stored, plan->info.params[i].stored_count * (int64_t)size, "a parameter", err));
        for (size_t e = 0; e < count; e++) op_put(device->master, canonical, (int64_t)e, s->values->param[i][e]);
        LK_TRY(device->param_pack(device, plan->op, i, canonical, stored, err));
        LK_TRY(device->param_unpack(device, plan->op, i, stored, back, err));
        if (memcmp(canonical, back, count * size) != 0)
            status = lk_fail(err, LK_ERR_NUMERIC, "parameter %d is not the same after packing and unpacking", i);
        device->release(device, stored);
        stored = NULL;
        lk_free(canonical), lk_free(back);
        canonical = back = NULL;
    }
out:
    if (stored != NULL) device->release(device, stored);
    lk_free(canonical), lk_free(back);
    return status;
}

static lk_status check_plan(subject *s, const op_plan *plan, lk_error *err) {
    LK_RETURN_IF(check_pack(s, plan, err));
    LK_RETURN_IF(run_lane(s, plan, (op_lane_options){.fill = FILL_NAN}, NULL, s->first, err));
    LK_RETURN_IF(op_results_close(plan, s->first, s->reference, err));
    LK_RETURN_IF(check_again(s, plan, err));
    LK_RETURN_IF(check_parallel(s, plan, err));
    return check_evaluation(s, plan, err);
}

/* Tries every layout of x that the device takes. *runs: how many there were. */
static lk_status check_layouts(subject *s, int *runs, lk_error *err) {
    int64_t blocks[OP_BLOCKS];
    int count = op_blocks(s->c, blocks);
    lk_status status = LK_OK;
    for (int i = 0; i < count && status == LK_OK; i++) {
        op_plan *plan = NULL;
        lk_error refusal = {0};
        s->block = blocks[i];
        status = op_plan_create(&plan, s->context->device, s->c, s->compute, blocks[i], NULL, &refusal);
        if (status == LK_ERR_UNSUPPORTED) {
            status = LK_OK; /* op_mode_support sees to it that one layout is taken */
            continue;
        }
        if (status != LK_OK)
            status = lk_fail(err, status, "%s", refusal.message);
        else
            status = check_plan(s, plan, err);
        op_plan_free(plan);
        if (status == LK_OK) (*runs)++;
    }
    return status;
}

static lk_status compare_case(op_context *context, const op_case *c, lk_dtype compute, int *runs, int64_t *block,
                              lk_error *err) {
    op_values *values = NULL, *others = NULL;
    op_results *reference = NULL, *first = NULL;
    lk_status status = LK_OK;
    LK_TRY(op_values_create(&values, context->reference, c, compute, 1, err));
    LK_TRY(op_values_create(&others, context->reference, c, compute, 2, err));
    LK_TRY(op_results_create(&reference, c, values, err));
    LK_TRY(op_results_create(&first, c, values, err));
    LK_TRY(op_run_case(context->reference, c, LK_F64, 1, values, reference, err));
    subject s = {.context = context,
                 .c = c,
                 .compute = compute,
                 .values = values,
                 .others = others,
                 .reference = reference,
                 .first = first};
    status = check_layouts(&s, runs, err);
    *block = s.block;
out:
    op_results_free(first);
    op_results_free(reference);
    op_values_free(others);
    op_values_free(values);
    return status;
}

static void report(op_context *context, const char *what, lk_dtype compute, int64_t block, const lk_error *err) {
    if (context->first_failure[0] == '\0')
        snprintf(context->first_failure, sizeof context->first_failure, "%.100s: %.800s", what, err->message);
    if (!context->quiet)
        printf("FAIL %s, %s, channel block %lld: %s\n", what, lk_dtype_name(compute), (long long)block, err->message);
}

/* Does the CPU device leave this kind of op to oneDNN, which takes bfloat16 on some processors only? */
static bool is_library(lk_op_kind kind) { return kind == LK_OP_CONV2D || kind == LK_OP_LINEAR; }

/* Cases run per kind and type must be enough: a device that supports nothing does not pass. */
static bool enough(const op_context *context, const int *cases, int runs, lk_dtype compute, bool own) {
    bool well = true;
    for (int kind = 0; kind < LK_OP_COUNT; kind++) {
        bool wanted = context->filter == NULL && (context->only_kind < 0 || context->only_kind == kind);
        if (own && is_library((lk_op_kind)kind)) continue;
        if (!wanted || cases[kind] >= OP_MIN_CASES) continue;
        well = false;
        if (!context->quiet)
            printf("FAIL %s on device %s in %s: %d cases ran, at least %d must\n", lk_op_kind_name((lk_op_kind)kind),
                   context->device->name, lk_dtype_name(compute), cases[kind], OP_MIN_CASES);
    }
    if (runs == 0 && !context->quiet) printf("FAIL no case ran\n");
    return well && runs > 0;
}

/* own: leave out what a library computes. */
static bool compare_dtype(op_context *context, lk_dtype compute, bool own) {
    int count, cases[LK_OP_COUNT] = {0}, runs = 0, failures = 0;
    const op_case *list = op_cases(&count);
    for (int i = 0; i < count; i++) {
        if (!op_selected(context, &list[i]) || !op_case_applies(context->device, &list[i])) continue;
        if (own && is_library(list[i].desc.kind)) continue;
        lk_error err = {0};
        int before = runs;
        int64_t block = 0;
        if (compare_case(context, &list[i], compute, &runs, &block, &err) != LK_OK) {
            report(context, list[i].name, compute, block, &err);
            failures++;
            if (context->stop_at_first) return false;
        }
        if (runs > before) cases[list[i].desc.kind]++;
    }
    bool well = failures == 0 && enough(context, cases, runs, compute, own);
    if (!context->quiet)
        printf("compare %s in %s: %d cases and layouts, %d failures\n", context->device->name, lk_dtype_name(compute),
               runs, failures);
    return well;
}

bool op_mode_compare(op_context *context) {
    lk_dtype dtypes[OP_DTYPES];
    int count = op_dtypes(context->device, dtypes), tried = 0;
    bool well = true;
    for (int i = 0; i < count; i++) {
        if (context->type != NULL && strcmp(context->type, lk_dtype_name(dtypes[i])) != 0) continue;
        tried++;
        well &= compare_dtype(context, dtypes[i], false);
        if (!well && context->stop_at_first) return false;
    }
    if (tried == 0) {
        if (!context->quiet) printf("FAIL device %s has no such compute type\n", context->device->name);
        return false;
    }
    lk_error err = {0};
    bool losses = context->only_kind < 0 || context->only_kind == LK_OP_LOSS;
    if (context->filter == NULL && losses && op_check_labels(context, &err) != LK_OK) {
        report(context, "labels", dtypes[0], 1, &err);
        well = false;
    }
    lk_error_clear(&err);
    if (context->filter == NULL && context->only_kind < 0 && op_check_slabs(context, &err) != LK_OK) {
        report(context, "slabs", dtypes[0], 1, &err);
        well = false;
    }
    return well;
}

bool op_mode_own(op_context *context) { return compare_dtype(context, LK_BF16, true); }
